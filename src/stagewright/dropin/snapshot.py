"""Snapshots of an ebuild repository, as ``catalyst -s`` makes them: a squashfs of one commit of a bare git repository.

The repository is ``<repos_storedir>/<repo_name>.git``. ``stable`` brings it up to date from where it was cloned from,
and takes what is there then; any other word is a treeish of it and is taken as it is. A commit that is not signed by
the key that Catalyst's configuration names is refused before anything is taken from it.
"""

from __future__ import annotations

import re
import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.openpgp import keyring
from stagewright.run import pipeline, run
from stagewright.store.links import locked

STABLE = "stable"
"""The word for the newest commit of the repository's own branch."""

UPSTREAM = "https://anongit.gentoo.org/git/repo/sync/gentoo.git"
"""Where a repository that is not there yet is cloned from, as Catalyst does."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Snapshots:
    """Where repositories and their snapshots lie, and whose signatures are good. ``notice`` is told what is done."""

    storedir: Path
    repo: str
    repos: Path
    key: Path | None
    notice: Callable[[str], None]

    @property
    def gitdir(self) -> Path:
        """The bare repository."""
        return self.repos / f"{self.repo}.git"

    def path(self, treeish: str) -> Path:
        """The file of a snapshot."""
        return self.storedir / "snapshots" / f"{self.repo}-{treeish.replace('/', '-')}.sqfs"

    def make(self, treeish: str, *, offline: bool = False) -> Path:
        """Make the snapshot of a treeish and return its file.

        Raises ``MISSING_FILE`` without a repository, ``UNKNOWN_NAME`` for a treeish that it has not,
        ``FETCH_FAILED``, and why a commit's signature is not good.
        """
        if treeish == STABLE:
            treeish = commit = self._update(offline=offline)
        else:
            commit = self._commit(treeish)
        self.notice(f"Creating {self.repo} tree snapshot {treeish} from {self.gitdir}")
        target = self.path(treeish)
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_suffix(".lock")):
            if target.exists() and _COMMIT.fullmatch(treeish):
                self.notice(f"{target} is there already")
                return target
            temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
            try:
                time = self._git("show", "--no-patch", "--format=%ct", commit).strip()
                archive = ["git", *self._where, "-c", "tar.umask=0022", "archive", "--format=tar", commit]
                pipeline([archive, _packer(temporary, time)], lambda _: None)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
        self.notice(f"Wrote snapshot to {target}")
        return target

    @property
    def _where(self) -> list[str]:
        """Options of git(1): which repository; and that it may belong to somebody else, since builds run as root."""
        return ["-c", f"safe.directory={self.gitdir}", "-C", str(self.gitdir)]

    def _git(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        return run(["git", *self._where, *words], env=env).stdout

    def _commit(self, treeish: str) -> str:
        if not self.gitdir.is_dir():
            hint = "run with -s stable, which clones it, or clone it there with git clone --bare"
            raise StagewrightError(Reason.MISSING_FILE, f"there is no repository {self.gitdir}", hint=hint)
        words = ["git", *self._where, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{treeish}^{{commit}}"]
        found = run(words, check=False).stdout.strip()
        if not _COMMIT.fullmatch(found):
            message = f"{self.gitdir} has no commit {treeish!r}"
            raise StagewrightError(Reason.UNKNOWN_NAME, message, hint="name a commit, a tag or a branch of it")
        return found

    def _update(self, *, offline: bool) -> str:
        """Bring the repository up to date; returns the commit that it is at then."""
        if not self.gitdir.is_dir():
            if offline:
                hint = "clone it there with git clone --bare, or run without --offline"
                raise StagewrightError(Reason.MISSING_FILE, f"there is no repository {self.gitdir}", hint=hint)
            return self._clone()
        origin = run(["git", *self._where, "config", "remote.origin.url"], check=False).stdout.strip()
        if offline or not origin:
            why = "offline" if offline else "it was cloned from nowhere"
            self.notice(f"{self.gitdir} is taken as it is: {why}")
            return self._verified(self._commit("HEAD"))
        branch = run(["git", *self._where, "symbolic-ref", "--short", "--quiet", "HEAD"], check=False).stdout.strip()
        shallow = self._git("rev-parse", "--is-shallow-repository").strip() == "true"  # a whole history stays one
        depth = ["--depth=1"] if shallow else []
        self._fetch([*self._where, "fetch", "--quiet", *depth, "origin", branch or "HEAD"], origin)
        commit = self._verified(self._commit("FETCH_HEAD"))
        self._git("update-ref", "HEAD", commit)
        self._git("gc", "--quiet")
        return commit

    def _clone(self) -> str:
        """Clone to a name of its own: a repository that is there is whole."""
        self.repos.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{self.repo}.", dir=self.repos) as folder:
            place = Path(folder) / "git"
            words = ["clone", "--quiet", "--depth=1", "--bare", f"--branch={STABLE}", UPSTREAM, str(place)]
            self._fetch(words, UPSTREAM)
            place.rename(self.gitdir)
        return self._verified(self._commit("HEAD"))

    def _fetch(self, words: list[str], origin: str) -> None:
        self.notice(f"git {' '.join(words)}")
        try:
            run(["git", *words], env={"GIT_TERMINAL_PROMPT": "0"})
        except StagewrightError as error:
            if error.reason is not Reason.COMMAND_FAILED:
                raise
            hint = "see to the network, or run with --offline (or STAGEWRIGHT_OFFLINE=1) to take what is there"
            message = f"git cannot read {origin}"
            raise StagewrightError(Reason.FETCH_FAILED, message, detail=error.detail, hint=hint) from error

    def _verified(self, commit: str) -> str:
        """The commit, if the key has signed it or none is known."""
        if self.key is None:
            self.notice(f"{commit} is not verified: there is no repo_openpgp_key_path")
            return commit
        if not self.key.is_file():
            hint = "correct repo_openpgp_key_path in catalyst.conf, or install the key"
            raise StagewrightError(Reason.MISSING_FILE, f"there is no key {self.key}", hint=hint)
        with keyring([self.key]) as trusted:
            trusted.verify_commit(self.gitdir, commit)
        return commit


def _packer(target: Path, time: str) -> list[str]:
    """The program that makes a squashfs of a tar archive on its standard input (squashfs-tools)."""
    return ["sqfstar", "-comp", "zstd", "-mkfs-time", time, "-no-progress", "-quiet", str(target)]
