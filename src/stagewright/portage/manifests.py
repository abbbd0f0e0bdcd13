"""Sizes and digests of distfiles, as the Manifests of repositories record them (GLEP 74)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from stagewright.confined import Tree
from stagewright.lazy_dataclass import dataclass
from stagewright.portage.gpkg import DIGESTS, digests_of
from stagewright.untrusted import number, open_regular

Records = dict[str, list[Mapping[str, str]]]
"""Records of distfiles by name: the size, and digests by their names. Manifests of several packages can differ."""

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Manifests:
    """The Manifests of some packages (category/name-version) in some repositories."""

    repos: Sequence[Path]
    packages: Collection[str]

    def records(self) -> Records:
        """Return the records of all distfiles of the packages."""
        found: Records = {}
        for repo in map(Tree, self.repos):
            for package in sorted({name for full in self.packages for name in _names(full)}):
                try:
                    text = repo.text(f"{package}/Manifest", errors="replace")
                except OSError:
                    continue
                for line in text.splitlines():
                    kind, *words = line.split() or [""]
                    if kind == "DIST" and len(words) >= 4 and len(words) % 2 == 0:
                        digests = dict(zip(words[2::2], words[3::2], strict=True))
                        found.setdefault(words[0], []).append({"size": words[1], **digests})
        return found


def matches(file: Path, records: Sequence[Mapping[str, str]]) -> bool:
    """Return True if a file has the size and the digest of one of its records."""
    with open_regular(file) as stream:
        digests = digests_of(iter(lambda: stream.read(_CHUNK), b""))
        size = stream.tell()
    return any(
        number(record["size"]) == size
        and (names := [name for name in DIGESTS if name in record])
        and all(record[name].lower() == digests[name] for name in names)
        for record in records
    )


def _names(package: str) -> Iterator[str]:
    """Yield the possible names (category/name) of a package with its version: PMS permits ``-`` in both."""
    category, _, full = package.partition("/")
    words = full.split("-")
    for count in range(1, len(words)):
        if words[count][:1].isdigit():
            yield f"{category}/{'-'.join(words[:count])}"
