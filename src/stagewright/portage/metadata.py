"""Metadata of ebuilds, for repositories without it: generated once by egencache(1), and used by every build.

Without metadata, Portage runs each ebuild in every stage to find its dependencies. The entries (md5-dict of portage(5))
hold the digests of the ebuild and of its eclasses. Portage ignores an entry that does not match, so old or missing
entries do not change a build. A build sees the repository with ``metadata/md5-cache`` mounted over it::

    cache/repos/md5-cache/<owner>.<digest>/metadata/md5-cache/<category>/<package>-<version>
    cache/repos/md5-cache-<owner>.lock      flock(2): held by the build that generates metadata

The owner is a digest of the repository's name and of the project: a root of another project could have written
anything. The other digest is that of the content of all repositories that the stage sees. After a change egencache
starts from the newest metadata of the same owner, so that it runs only the ebuilds that changed.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stagewright.confined import Tree
from stagewright.lazy_dataclass import dataclass
from stagewright.portage.repositories import Repository
from stagewright.portage.scripts import QUIET
from stagewright.root.overlay import mount_layers, mount_overlay
from stagewright.root.sandbox import Bind
from stagewright.store.links import locked

if TYPE_CHECKING:
    from stagewright.root.root import Root

CACHE = "metadata/md5-cache"

_LONGEST_ENTRY = 16 << 20
"""The largest file of metadata that is taken over (bytes)."""

LEAST_EBUILDS = 8
"""The least number of ebuilds. For fewer, Portage runs them in less time than egencache(1) needs to start, so even a
build right after a change of an ebuild gets no slower: 0.5 s of processor time, and 0.06 s for each ebuild.
"""


@dataclass(frozen=True)
class MetadataCache:
    """The metadata cache of one store, and the folder of one build.

    ``origin`` names the project (Work.origins). ``digests`` are those of repositories, by name.
    """

    cache: Path
    folder: Path
    origin: str
    digests: Mapping[str, str]
    cores: int
    on_phase: Callable[[str], None]

    def binds(self, root: Root, repos: Sequence[Repository]) -> list[Bind]:
        """Return mounts of the repositories without metadata, with that of the cache; generate it if it is missing."""
        lacking = [repo for repo in repos if not (repo.path / CACHE).is_dir() and _is_worth_it(repo)]
        return [Bind(self._merged(root, repo, repos), repo.location) for repo in lacking]

    def _merged(self, root: Root, repo: Repository, repos: Sequence[Repository]) -> Path:
        kept = self.cache / self._name(repo, repos)
        if not kept.is_dir():
            with locked(self.cache.parent / f"{self.cache.name}-{self._owner(repo)}.lock"):
                if not kept.is_dir():  # another build may have made it in the meantime
                    self._make(root, repo, kept)
        os.utime(kept)  # garbage collection reads this time as the last use
        return mount_layers([kept, repo.path], self.folder / "repos" / repo.name)

    def _name(self, repo: Repository, repos: Sequence[Repository]) -> str:
        """Return the owner, and the digest of all inputs of the metadata: eclasses may come from any repository."""
        others = sorted(self.digests[other.name] for other in repos)
        return f"{self._owner(repo)}.{_digest(self.digests[repo.name], *others)}"

    def _owner(self, repo: Repository) -> str:
        return _digest(self.origin, repo.name)[:16]

    def _make(self, root: Root, repo: Repository, kept: Path) -> None:
        """Run egencache on an overlay of the repository, and keep its output, even if it is incomplete."""
        self.on_phase(f"metadata of {repo.name}")
        work = self.folder / "egencache" / repo.name
        (work / "upper" / CACHE).mkdir(parents=True)  # a build may not write into folders of the project
        if earlier := self._newest(repo):  # Portage replaces the entries that do not match
            Tree(earlier, links=False).copy_tree_out(CACHE, work / "upper" / CACHE, lambda _: False, _LONGEST_ENTRY)
        mount_overlay([repo.path], work / "upper", work / "tree")
        words = ["egencache", "--update", f"--repo={repo.name}", f"--jobs={self.cores}"]
        root.run(*words, binds=[Bind(work / "tree", repo.location, writable=True)], env=QUIET, check=False)
        made = work / "made"
        (made / CACHE).parent.mkdir(parents=True)
        written = Tree(work / "upper", links=False)
        written.move_out(CACHE, made / CACHE) if written.is_dir(CACHE) else (made / CACHE).mkdir()
        self.cache.mkdir(parents=True, exist_ok=True)
        temporary = self.cache / f".{kept.name}.{secrets.token_hex(4)}"
        made.rename(temporary)
        try:
            temporary.rename(kept)
        except OSError:  # another build has made it in the meantime
            self._discard(temporary, kept)

    def _newest(self, repo: Repository) -> Path | None:
        """Return the metadata of this owner that was used last, or None."""
        found = self.cache.glob(f"{self._owner(repo)}.*")
        return max(found, key=lambda folder: folder.stat().st_mtime, default=None)

    def _discard(self, temporary: Path, kept: Path) -> None:
        if not kept.is_dir():
            raise FileNotFoundError(kept)
        temporary.rename(self.folder / f"egencache.{temporary.name}")


def _digest(*words: str) -> str:
    return hashlib.sha256(" ".join(words).encode()).hexdigest()


def _is_worth_it(repo: Repository) -> bool:
    found = repo.path.glob("*/*/*.ebuild")
    return sum(1 for _, _ in zip(range(LEAST_EBUILDS), found, strict=False)) == LEAST_EBUILDS
