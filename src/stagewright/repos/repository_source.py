"""The remote source of a project's repository: resolve and verify its current state, and restore a pinned one."""

from __future__ import annotations

import calendar
import contextlib
import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.download import DownloadProgress
from stagewright.fetch.openpgp import Keyring, keyring
from stagewright.interpreter import python
from stagewright.project.model import Repo
from stagewright.repos.git import TREE_KIND, Commit, CommitRange, GitRemote
from stagewright.repos.repository_cache import RepositoryCache
from stagewright.repos.snapshots import Snapshot, SnapshotMirror
from stagewright.run import run
from stagewright.seeds.gentoo_keyring import existing_keyring

GENTOO_KEYS = (
    "DCD05B71EAB94199527F44ACDB6B8C1F96D8BF6D",  # ebuild repository signing key
    "EF9538C9E8E64311A52CDEDFA13D0EF1914E7A72",  # repository mirrors, automated git signing key
)
"""Primary keys of Gentoo's signatures of snapshots, of Manifests, and of commits in its git mirror."""

SUBJECTS = 20
"""The largest number of commits between two pins whose subjects are listed."""


@dataclass(frozen=True)
class RepositorySource:
    """A remote repository of a project, and the cache of a store.

    ``keyring`` is the file of keys that the project names, or None.
    """

    name: str
    repo: Repo
    keyring: Path | None
    cache: RepositoryCache
    log: IO[str]
    on_phase: Callable[[str], None] = lambda _: None
    on_progress: DownloadProgress = lambda *_: None

    def resolve(self, old: Mapping[str, Any] | None) -> dict[str, Any]:
        """Fetch and verify the current state of the repository, and return its pin.

        ``old`` is the last pin for the same settings. Raises the reason if the repository cannot be reached or
        verified; ``REPLAYED`` if its state is older than the pinned one.
        """
        if self.repo.git is not None:
            commit = self._remote.resolve(ref=self.repo.ref, tag=self.repo.tag, commit=self.repo.commit)
            pin = self._pin_of_commit(commit, old)
            self.on_phase("check out")
            self._remote.write_tree(commit)
        else:
            pin = self._pin_of_snapshot(self._find_snapshot(), old)
            self._mirror.write_tree(pin["file"], pin["sha512"])
        self._check_manifests(pin["tree"])
        return pin

    def fetch(self, pin: Mapping[str, Any]) -> None:
        """Fetch the files of a pin, unless the cache has them."""
        if not self.cache.has(pin["tree"]):
            self.on_phase("fetch")
            if self.repo.git is not None:
                tree = self._remote.write_tree(self._remote.fetch(self._entry(pin, "commit")))
            else:
                tree = self._mirror.write_tree(self._entry(pin, "file"), self._entry(pin, "sha512"))
            if tree != pin["tree"]:
                what = f"{self.name}: the files of the pinned commit do not match the lock"
                raise StagewrightError(Reason.DIGEST_MISMATCH, what, hint="run: stagewright update")

    def _entry(self, pin: Mapping[str, Any], name: str) -> str:
        if name not in pin:
            what = f"stagewright.lock: the pin of {self.name} has no {name}"
            raise StagewrightError(Reason.LOCK_STALE, what, hint=f"run: stagewright update {self.name}")
        return str(pin[name])

    def commits_between(self, old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> CommitRange | None:
        """Return the commits between two pins; None if unknown."""
        if not old or self.repo.git is None or "commit" not in old or old["commit"] == new["commit"]:
            return None
        try:
            since = calendar.timegm(time.strptime(str(old.get("date")), "%Y-%m-%d %H:%M:%S"))
        except (ValueError, OverflowError):  # not what Stagewright wrote
            return None
        return self._remote.commits_between(old["commit"], new["commit"], since, SUBJECTS)

    def _check_manifests(self, tree: str) -> None:
        """Verify a tree by its signed Manifests if the project sets ``manifests``."""
        if self.repo.manifests:
            self.on_phase("verify the Manifests")
            with self._trusted() as trusted:
                _gemato(self.cache.path(tree), trusted, self.log, self.name)

    @property
    def _remote(self) -> GitRemote:
        assert self.repo.git is not None
        return GitRemote(self.repo.git, self.cache, self.log)

    @property
    def _mirror(self) -> SnapshotMirror:
        url = self.repo.squashfs or self.repo.snapshot
        assert url
        names = tuple(dict.fromkeys([self.name, "gentoo", "portage"]))
        return SnapshotMirror(url.rstrip("/"), names, self.cache, self.log, self.on_progress)

    def _find_snapshot(self) -> Snapshot:
        trust = self._trusted if self.repo.verified else None
        find = self._mirror.find_tarball if self.repo.snapshot else self._mirror.find_squashfs
        return find(self.repo.date, trust)

    def _pin_of_commit(self, commit: Commit, old: Mapping[str, Any] | None) -> dict[str, Any]:
        date = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(commit.time))
        self._check_newer(date, old)
        signer = {}
        if self.repo.verified:
            with self._trusted() as trusted:
                signer = {"signer": trusted.verify_commit(self._remote.folder, commit.id).primary}
        return {"date": date, "commit": commit.id, "tree": f"{TREE_KIND}:{commit.tree}", **signer}

    def _pin_of_snapshot(self, found: Snapshot, old: Mapping[str, Any] | None) -> dict[str, Any]:
        self._check_newer(found.date, old)
        signer = {"signer": found.signer} if found.signer else {}
        return {"date": found.date, "file": found.file, "sha512": found.sha512, "tree": found.tree, **signer}

    def _check_newer(self, date: str, old: Mapping[str, Any] | None) -> None:
        if old and date < str(old.get("date", "")):
            raise StagewrightError(
                Reason.REPLAYED,
                f"{self.name}: the current state is older than the pinned one ({date}, pinned {old['date']})",
                hint=f"try again later; to go back, remove [repos.{self.name}] from stagewright.lock",
            )

    @property
    def _keyring_file(self) -> Path:
        return existing_keyring(self.keyring)

    @contextlib.contextmanager
    def _trusted(self) -> Iterator[Keyring]:
        """Make a keyring of the trusted keys: those of the project, else those of Gentoo."""
        file = self._keyring_file
        wanted = self.repo.keys or (() if self.keyring else GENTOO_KEYS)
        with keyring([file], wanted) as trusted:
            yield trusted


def _gemato(tree: Path, trusted: Keyring, log: IO[str], name: str) -> None:
    """Verify a tree with gemato(1). Raises ``DIGEST_MISMATCH`` or ``BAD_SIGNATURE`` with its output."""
    if importlib.util.find_spec("gemato") is None:
        raise StagewrightError(
            Reason.MISSING_TOOL,
            "gemato is not installed",
            hint="run: pip install 'stagewright[manifests]' (Gentoo: emerge app-portage/gemato)",
        )
    if not (tree / "Manifest").is_file():
        what = f"{name}: no Manifest at the top of the repository, so its files are not signed"
        raise StagewrightError(
            Reason.NO_SIGNATURE, what, hint="remove `manifests`, or use a snapshot of Gentoo's repository"
        )
    keys = trusted.home.folder / "trusted.gpg"
    trusted.export(keys)
    words = ["verify", "--require-signed-manifest", "--no-refresh-keys", "--openpgp-key", str(keys), str(tree)]
    result = run(python("gemato", *words), check=False)
    said = (result.stdout + result.stderr).strip()
    log.write(said + "\n")
    if result.code:
        raise StagewrightError(
            Reason.DIGEST_MISMATCH if "mismatch" in said.lower() else Reason.BAD_SIGNATURE,
            f"{name}: the repository does not match its Manifests",
            detail="\n".join(said.splitlines()[-8:]),
            hint="try another mirror or another `date`",
        )
