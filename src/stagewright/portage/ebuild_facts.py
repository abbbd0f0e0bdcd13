"""Facts about a merged package, from the record that its layer kept: source files with addresses and digests.

SRC_URI is evaluated by the USE flags that the package was built with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from pydantic import BaseModel, ConfigDict

from stagewright.portage.dependency_text import parse, reduced, words_of
from stagewright.portage.ebuild_records import EbuildRecord
from stagewright.untrusted import number

_MOST_URIS = 20


class SourceFile(BaseModel):
    """A source file: its addresses, its size in bytes, and its digests by the names in Manifests."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    name: str
    uris: tuple[str, ...] = ()
    size: int | None = None
    digests: Mapping[str, str] = {}


def source_files(record: EbuildRecord, use: Collection[str]) -> tuple[SourceFile, ...]:
    """Return the source files of a package that was built with these USE flags (PMS 8.2 and 7.3.2)."""
    try:
        words = list(words_of(reduced(parse(record.metadata.get("SRC_URI", "")), frozenset(use))))
    except ValueError:
        return ()
    mirrors, records = _mirrors(record.mirrors), _digests(record.dist)
    found: dict[str, list[str]] = {}
    for place, word in enumerate(words):
        if word == "->" or (place and words[place - 1] == "->"):
            continue
        is_renamed = place + 2 < len(words) and words[place + 1] == "->"
        uri = word.removeprefix("fetch+").removeprefix("mirror+")
        uris = found.setdefault(words[place + 2] if is_renamed else uri.rpartition("/")[2], [])
        uris.extend(_addresses(uri, mirrors))
    return tuple(_source_file(name, uris, records.get(name, {})) for name, uris in found.items())


def _source_file(name: str, uris: Iterable[str], record: Mapping[str, str]) -> SourceFile:
    digests = {kind: value.lower() for kind, value in record.items() if kind != "size"}
    places = tuple(dict.fromkeys(uris))[:_MOST_URIS]
    return SourceFile(name=name, uris=places, size=number(record.get("size", "")), digests=digests)


def _addresses(uri: str, mirrors: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """Yield the addresses of a file: of all mirrors for ``mirror://NAME/path``; none for a plain file name."""
    if uri.startswith("mirror://"):
        name, _, path = uri.removeprefix("mirror://").partition("/")
        yield from (f"{mirror.rstrip('/')}/{path}" for mirror in mirrors.get(name, ()))
    elif ":" in uri:
        yield uri


def _mirrors(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the addresses of mirrors by name. Lines of several repositories with one name are joined."""
    found: dict[str, dict[str, None]] = {}
    for line in lines:
        name, *addresses = line.partition("#")[0].split()
        found.setdefault(name, {}).update(dict.fromkeys(addresses))
    return {name: tuple(addresses) for name, addresses in found.items()}


def _digests(lines: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return sizes and digests by file name, from lines of a Manifest (GLEP 74)."""
    found: dict[str, dict[str, str]] = {}
    for line in lines:
        _, *words = line.split()
        if len(words) >= 4 and len(words) % 2 == 0:
            digests = dict(zip(words[2::2], words[3::2], strict=True))
            found.setdefault(words[0], {"size": words[1], **digests})
    return found
