"""Remote repositories by git(1): the commit of a name, its files as a tree, and the commits between two pins.

Only the requested commit is fetched, into a bare repository without history. ``git checkout-index`` writes its files
without the configuration of user and machine, so a commit gives the same tree on every machine.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.repos.repository_cache import RepositoryCache, check_repository
from stagewright.run import Result, network, run
from stagewright.trees import remove_tree

TREE_KIND = "git-tree"
"""The kind of tree id that a commit's tree has."""

_CONFIG = {
    "gc.auto": "0",
    "fetch.unpackLimit": "1",  # always keep packs: writing a pack is atomic
    "core.hooksPath": "/dev/null",
    "http.lowSpeedLimit": "64",
    "http.lowSpeedTime": "60",
    "protocol.ext.allow": "never",
    "advice.detachedHead": "false",
}

_NO_CONFIG = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_ATTR_NOSYSTEM": "1"}
"""Variables that disable the git configuration of the machine and the user."""

_MESSAGES = (
    ("is this a git repository", Reason.NOT_A_FILE),
    ("not found|does not exist|does not appear to be a git repository", Reason.NOT_FOUND),
)
"""Error messages of git for addresses without a repository."""

_DAY = 86400


@dataclass(frozen=True)
class Commit:
    """A commit: its id, the id of its tree, and its time (seconds since 1970)."""

    id: str
    tree: str
    time: int


@dataclass(frozen=True)
class CommitRange:
    """The commits between two pins: their number, and the subjects of the newest ones, newest first."""

    count: int
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class GitRemote:
    """A remote git repository, and its copy in a store."""

    url: str
    cache: RepositoryCache
    log: IO[str] | None = None

    @property
    def folder(self) -> Path:
        """The bare repository with the requested commits."""
        return self.cache.folder_for("git", self.url)

    def resolve(self, *, ref: str | None = None, tag: str | None = None, commit: str | None = None) -> Commit:
        """Fetch the current commit of a branch, a tag or an id (default: of the default branch).

        Raises ``UNKNOWN_NAME`` if the repository does not have it, ``FETCH_FAILED`` if it cannot be reached.
        """
        if commit:
            return self.fetch(commit)
        names = self._names()
        wanted = f"refs/tags/{tag}" if tag else f"refs/heads/{ref}" if ref else names.get("HEAD", "")
        if wanted not in names:
            what = f"tag {tag!r}" if tag else f"branch {ref!r}" if ref else "default branch"
            kind = "refs/tags/" if tag else "refs/heads/"
            known = [name.removeprefix(kind) for name in names if name.startswith(kind)]
            hint = nearest(tag or ref or "", known) or "the repository is empty"
            raise StagewrightError(Reason.UNKNOWN_NAME, f"{self.url}: no {what}", hint=hint)
        with self._locked_repository(self.folder, len(names[wanted])) as lock:
            own = f"refs/pins/{wanted.removeprefix('refs/')}"
            self._fetch(lock, [f"+{wanted}:{own}"])
            return self._commit(own)

    def fetch(self, commit: str) -> Commit:
        """Return the commit with this id; fetch it if it is missing. Raises ``UNKNOWN_NAME`` if it does not exist."""
        with self._locked_repository(self.folder, len(commit)) as lock:
            if not self._has(commit):
                self._fetch_by_id(lock, commit)
            return self._commit(commit)

    def write_tree(self, commit: Commit) -> str:
        """Return the tree id of a commit; write its files if they are missing."""
        tree = f"{TREE_KIND}:{commit.tree}"
        with self.cache.new_entry(tree) as folder:
            if folder is not None:
                self._check_out(commit, folder)
                check_repository(folder, self.url)
        return tree

    def write_files(self, commit: Commit, folder: Path) -> None:
        """Write the files of a commit into a folder. The repository can be of any kind."""
        self._check_out(commit, folder)

    def commits_between(self, old: str, new: str, since: int, most: int) -> CommitRange | None:
        """Return the commits after ``old`` up to ``new``; None if ``old`` is no ancestor of ``new``, or if unknown.

        ``since`` is the time of ``old`` (seconds since 1970). Commits are fetched without files if the server can.
        """
        folder = self.cache.folder_for("history", self.url)
        since = max(1, since - _DAY)
        with self._locked_repository(folder, len(new)) as lock:
            fetch = ["fetch", "--no-tags", "--quiet", "--filter=tree:0", f"--shallow-since={since}", self.url]
            self._git(folder, *fetch, f"+{new}:refs/pins/new", isolated=False, check=False, pass_fds=[lock])
            if self._git(folder, "merge-base", "--is-ancestor", old, new, check=False).code:
                return None
            span = f"{old}..{new}"
            count = int(self._git(folder, "rev-list", "--count", span).stdout)
            subjects = self._git(folder, "log", f"--max-count={most}", "--format=%s", span).stdout
        return CommitRange(count, tuple(subjects.splitlines()))

    def fetch_history(self, old: str, new: str, since: int) -> bool:
        """Fetch the commits up to ``new`` without files. Return True if ``old`` is an ancestor of ``new``.

        ``since`` is the time of ``old`` (seconds since 1970); without success, the whole history is fetched.
        """
        folder = self.cache.folder_for("history", self.url)
        fetch = ["fetch", "--no-tags", "--quiet", "--filter=tree:0"]
        spec = f"+{new}:refs/pins/new"
        with self._locked_repository(folder, len(new)) as lock:
            for depth in ([f"--shallow-since={max(1, since - _DAY)}"], ["--unshallow"]):
                if depth == ["--unshallow"] and not (folder / "shallow").exists():
                    depth = []  # noqa: PLW2901
                self._run_remote([*fetch, *depth, self.url, spec], folder, lock)
                if not self._git(folder, "merge-base", "--is-ancestor", old, new, check=False).code:
                    return True
        return False

    def in_history(self, *words: str) -> str:
        """Return the output of git(1) in the repository of :meth:`fetch_history`."""
        return self._git(self.cache.folder_for("history", self.url), *words).stdout

    def _names(self) -> dict[str, str]:
        """Return the ids of branches and tags by full name. The value of HEAD is the name of the default branch."""
        said = self._run_remote(["ls-remote", "--symref", self.url, "HEAD", "refs/heads/*", "refs/tags/*"])
        names: dict[str, str] = {}
        for line in said.splitlines():
            value, tab, name = line.partition("\t")
            if tab and name == "HEAD":
                names.setdefault("HEAD", value.removeprefix("ref: "))
            elif tab and not name.endswith("^{}"):
                names[name] = value
        return names

    def _fetch_by_id(self, lock: int, commit: str) -> None:
        """Fetch a commit by its id. If the server offers only names, fetch all branches and tags."""
        spec = f"{commit}:refs/pins/commits/{commit}"
        try:
            self._fetch(lock, [f"+{spec}"])
        except StagewrightError as error:
            if not re.search(
                "not our ref|unadvertised object|no such remote ref|couldn't find remote ref", error.detail
            ):
                raise
            self._fetch(lock, ["+refs/heads/*:refs/pins/heads/*", "+refs/tags/*:refs/pins/tags/*"], whole=True)
        if not self._has(commit):
            raise StagewrightError(
                Reason.UNKNOWN_NAME,
                f"{self.url}: no commit {commit}",
                hint="correct the id; if its branch was rewritten, run: stagewright update",
            )

    def _fetch(self, lock: int, specs: Sequence[str], *, whole: bool = False) -> None:
        depth = [] if whole else ["--depth=1"]
        if whole and (self.folder / "shallow").exists():
            depth = ["--unshallow"]
        self._run_remote(["fetch", "--no-tags", "--quiet", *depth, self.url, *specs], self.folder, lock)

    def _run_remote(self, words: Sequence[str], folder: Path | None = None, lock: int | None = None) -> str:
        """Run a git command that connects to the server, and return its output."""
        result = self._git(folder, *words, isolated=False, check=False, pass_fds=[lock] if lock is not None else [])
        if self.log:
            self.log.write(f"+ git {' '.join(words)}\n{result.stderr}\n")
            self.log.flush()
        if result.code:
            lines = [line for line in result.stderr.strip().splitlines() if line.strip()]
            raise StagewrightError(
                next(
                    (reason for pattern, reason in _MESSAGES if re.search(pattern, result.stderr)), Reason.FETCH_FAILED
                ),
                f"{self.url}: git cannot fetch",
                detail="\n".join(lines[-8:]),
                hint="check the address and the server",
            )
        return result.stdout

    def _has(self, commit: str) -> bool:
        return self._git(self.folder, "cat-file", "-e", f"{commit}^{{commit}}", check=False).code == 0

    def _commit(self, name: str) -> Commit:
        said = self._git(self.folder, "log", "--max-count=1", "--format=%H %T %ct", f"{name}^{{commit}}").stdout
        commit, tree, made = said.split()
        return Commit(commit, tree, int(made))

    def _check_out(self, commit: Commit, folder: Path) -> None:
        index = folder.with_name(f"{folder.name}.index")
        place = {"GIT_WORK_TREE": str(folder), "GIT_INDEX_FILE": str(index)}
        try:
            self._git(self.folder, "read-tree", commit.tree, env=place)
            self._git(self.folder, "checkout-index", "--all", "--force", f"--prefix={folder}/", env=place)
        finally:
            remove_tree(index)

    @contextlib.contextmanager
    def _locked_repository(self, folder: Path, length: int) -> Iterator[int]:
        """Lock a bare repository, create it if it is missing, and remove the lock files of killed git processes."""
        with self.cache.lock(f"{folder.parent.name}-{folder.name}") as lock:
            if not (folder / "HEAD").exists() or not (folder / "objects").is_dir():
                remove_tree(folder)
                kind = "sha256" if length == 64 else "sha1"
                self._git(None, "init", "--quiet", "--bare", f"--object-format={kind}", str(folder))
                if folder.parent.name == "history":  # git must not report the missing files as lost
                    self._git(folder, "config", "extensions.partialClone", "origin")
                    self._git(folder, "config", "remote.origin.promisor", "true")
                    self._git(folder, "config", "remote.origin.url", self.url)
            os.utime(folder)  # garbage collection reads this time as the last use
            for left in [*folder.glob("*.lock"), *folder.glob("refs/**/*.lock")]:
                left.unlink(missing_ok=True)
            yield lock

    def _git(
        self,
        folder: Path | None,
        *words: str,
        isolated: bool = True,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Result:
        settings = [word for name, value in _CONFIG.items() for word in ("-c", f"{name}={value}")]
        place = (
            [
                "--git-dir",
                str(folder),
            ]
            if folder
            else []
        )
        own = {"GIT_TERMINAL_PROMPT": "0", **(_NO_CONFIG if isolated else network()), **(env or {})}
        return run(["git", *settings, *place, *words], env=own, check=check, pass_fds=pass_fds)
