"""Snapshots of an ebuild repository, as ``catalyst -s`` makes them: a squashfs of one commit of a bare git repository.

The repository is ``<repos_storedir>/<repo_name>.git``. ``stable`` fetches it from its origin and takes the newest
commit. Every other word is a treeish of the repository, which is not fetched. If Catalyst's configuration names a key
and the commit is not signed by it, the commit is an error before anything of it is used.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.openpgp import keyring
from stagewright.run import pipeline, run
from stagewright.store.links import locked
from stagewright.temporary import temporary_folder

STABLE = "stable"
"""The word for the newest commit of the repository's own branch."""

UPSTREAM = "https://anongit.gentoo.org/git/repo/sync/gentoo.git"
"""The address from which a missing repository is cloned, as in Catalyst."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Snapshots:
    """The folders of repositories and snapshots, and the trusted key. ``notice`` is called with each step."""

    storedir: Path
    repo: str
    repos: Path
    key: Path | None
    notice: Callable[[str], None]

    @property
    def gitdir(self) -> Path:
        """Path of the bare repository."""
        return self.repos / f"{self.repo}.git"

    def path(self, treeish: str) -> Path:
        """Return the file of a snapshot."""
        return self.storedir / "snapshots" / f"{self.repo}-{treeish.replace('/', '-')}.sqfs"

    def make(self, treeish: str, *, offline: bool = False) -> Path:
        """Make the snapshot of a treeish and return its file.

        Raises ``MISSING_FILE`` if there is no repository, ``UNKNOWN_NAME`` if it does not have the treeish,
        ``FETCH_FAILED``, or the reason why the signature of the commit is not good.
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
                self.notice(f"{target} exists already")
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
        """Options of git(1): the repository, which may belong to another user because builds run as root."""
        return ["-c", f"safe.directory={self.gitdir}", "-C", str(self.gitdir)]

    def _git(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        return run(["git", *self._where, *words], env=env).stdout

    def _commit(self, treeish: str) -> str:
        if not self.gitdir.is_dir():
            hint = "run with -s stable, which clones it, or clone it to this path with git clone --bare"
            raise StagewrightError(Reason.MISSING_FILE, f"{self.gitdir}: repository not found", hint=hint)
        words = ["git", *self._where, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{treeish}^{{commit}}"]
        found = run(words, check=False).stdout.strip()
        if not _COMMIT.fullmatch(found):
            message = f"{self.gitdir} has no commit {treeish!r}"
            raise StagewrightError(
                Reason.UNKNOWN_NAME, message, hint="give a commit, a tag or a branch of this repository"
            )
        return found

    def _update(self, *, offline: bool) -> str:
        """Fetch the repository, and return its newest commit."""
        if not self.gitdir.is_dir():
            if offline:
                hint = "clone it to this path with git clone --bare, or run without --offline"
                raise StagewrightError(Reason.MISSING_FILE, f"{self.gitdir}: repository not found", hint=hint)
            return self._clone()
        origin = run(["git", *self._where, "config", "remote.origin.url"], check=False).stdout.strip()
        if offline or not origin:
            why = "--offline" if offline else "it has no origin"
            self.notice(f"{self.gitdir} is not updated ({why})")
            return self._verified(self._commit("HEAD"))
        branch = run(["git", *self._where, "symbolic-ref", "--short", "--quiet", "HEAD"], check=False).stdout.strip()
        shallow = self._git("rev-parse", "--is-shallow-repository").strip() == "true"  # else the history is complete
        depth = ["--depth=1"] if shallow else []
        self._fetch([*self._where, "fetch", "--quiet", *depth, "origin", branch or "HEAD"], origin)
        commit = self._verified(self._commit("FETCH_HEAD"))
        self._git("update-ref", "HEAD", commit)
        self._git("gc", "--quiet")
        return commit

    def _clone(self) -> str:
        """Clone to a temporary name first, so that a repository under its own name is complete."""
        self.repos.mkdir(parents=True, exist_ok=True)
        with temporary_folder("clone", self.repos, hidden=True) as folder:
            place = folder / "git"
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
            hint = "check the network, or run with --offline (or STAGEWRIGHT_OFFLINE=1) to use the present state"
            message = f"{origin}: git cannot fetch from it"
            raise StagewrightError(Reason.FETCH_FAILED, message, detail=error.detail, hint=hint) from error

    def _verified(self, commit: str) -> str:
        """Return the commit. Raises why its signature is not good, if a key is configured."""
        if self.key is None:
            self.notice(f"{commit} is not verified: repo_openpgp_key_path is empty")
            return commit
        if not self.key.is_file():
            hint = (
                'install sec-keys/openpgp-keys-gentoo-release, or write the file of a key or "" (nothing is verified) '
            )
            hint += "as repo_openpgp_key_path into catalyst.conf"
            raise StagewrightError(Reason.MISSING_FILE, f"{self.key}: key not found", hint=hint)
        with keyring([self.key]) as trusted:
            trusted.verify_commit(self.gitdir, commit)
        return commit


def _packer(target: Path, time: str) -> list[str]:
    """Return the command that makes a squashfs of a tar archive on its standard input (squashfs-tools).

    All files of a commit have its time. The root has no entry in the archive; sqfstar 4.5 ignores ``-root-time``.
    """
    times = ["-mkfs-time", time, "-all-time", time]
    return ["sqfstar", "-comp", "zstd", *times, "-no-progress", "-quiet", str(target)]
