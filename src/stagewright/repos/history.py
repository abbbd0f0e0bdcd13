"""The commits of a remote git repository between two pins, for a search by halves."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from stagewright.errors import Reason, StagewrightError
from stagewright.repos.git import TREE_KIND, GitRemote

_FORMAT = "--format=%H%x00%T%x00%ct%x00%an%x00%s"
_DISTANCE = re.compile(r"([0-9a-f]{40,64}) .*dist=\d+.*")


@dataclass(frozen=True)
class HistoryCommit:
    """A commit: its id, the id of its tree, its time (seconds since 1970), its author and its subject."""

    id: str
    tree: str
    time: int
    author: str
    subject: str

    def __str__(self) -> str:
        return f"{self.id[:12]} ({self.subject})"


@dataclass(frozen=True)
class History:
    """The commits after ``good`` up to ``bad`` of one repository, without their files."""

    remote: GitRemote
    good: str
    bad: str

    @classmethod
    def fetch(cls, remote: GitRemote, good: str, bad: str, since: int) -> History:
        """Fetch the commits. ``since`` is the time of ``good`` (seconds since 1970).

        Raises: UNRELATED if ``good`` is not an ancestor of ``bad``, FETCH_FAILED if the server cannot be reached.
        """
        if not remote.fetch_history(good, bad, since):
            what = f"{remote.url}: commit {good[:12]} is not an ancestor of {bad[:12]}"
            hint = "use locks whose commits are on one branch, the older one as --good"
            raise StagewrightError(Reason.UNRELATED, what, hint=hint)
        return cls(remote, good, bad)

    def halfway(self, bad: str, good: Collection[str], skipped: Collection[str]) -> str | None:
        """Return the commit that divides the suspects best: those that lead to ``bad``, and to none of ``good``.

        None if no suspect is left to test: all but ``bad`` are skipped.
        """
        said = self.remote.in_history("rev-list", "--bisect-all", bad, *(f"^{commit}" for commit in sorted(good)))
        found = (match[1] for line in said.splitlines() if (match := _DISTANCE.fullmatch(line)))
        return next((commit for commit in found if commit != bad and commit not in skipped), None)

    def suspects(self, bad: str, good: Collection[str]) -> list[str]:
        """Return the commits of which one is the first bad one, newest first."""
        return self.remote.in_history("rev-list", bad, *(f"^{commit}" for commit in sorted(good))).split()

    def commit(self, name: str) -> HistoryCommit:
        """Return a commit."""
        said = self.remote.in_history("log", "--max-count=1", _FORMAT, name).rstrip("\n")
        commit, tree, made, author, subject = said.split("\0")
        return HistoryCommit(commit, f"{TREE_KIND}:{tree}", int(made), author, subject)
