"""``packages.gz`` of a layer: facts about the packages that the layer adds, for the bill of materials of artifacts.

A JSON list of ``EbuildFacts``, compressed by gzip. The facts of the layer have the SHA-256 of the file. So an artifact
that is made later, without the ebuild repository, can name the sources of its packages.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import file_digest
from stagewright.kinds.common.facts import LayerFacts
from stagewright.portage.ebuild_facts import EbuildFacts
from stagewright.store.meta import Meta
from stagewright.store.store import Store

_LARGEST = 256 << 20


@dataclass(frozen=True)
class Records:
    """A written file and its digest."""

    path: Path
    digest: str


def write_records(facts: Sequence[EbuildFacts], folder: Path) -> Records | None:
    """Write the facts of a layer into a work folder; None without facts."""
    if not facts:
        return None
    rows = [one.model_dump(mode="json", exclude_defaults=True) for one in sorted(facts, key=lambda one: one.package)]
    path = folder / "packages.gz"
    path.write_bytes(gzip.compress(json.dumps(rows, ensure_ascii=False).encode(), mtime=0))
    return Records(path, file_digest(path))


def read_records(store: Store, layers: Iterable[Meta]) -> dict[str, EbuildFacts]:
    """Return the facts about the packages (category/name-version) of a root; ``layers`` are topmost first.

    Raises: DAMAGED if a file is not what its layer says.
    """
    found: dict[str, EbuildFacts] = {}
    for layer in layers:
        digest = LayerFacts.of(layer).records if layer.facts.get("records") else None
        if digest:
            for facts in _read(store.records(layer.key), digest):
                found.setdefault(facts.package, facts)
    return found


def _read(path: Path, digest: str) -> list[EbuildFacts]:
    try:
        if file_digest(path) == digest:
            with gzip.open(path) as stream:
                return [EbuildFacts.model_validate(row) for row in json.loads(stream.read(_LARGEST))]
    except (OSError, EOFError, ValueError) as error:
        raise _damaged(path) from error
    raise _damaged(path)


def _damaged(path: Path) -> StagewrightError:
    hint = "run stagewright gc after removing the folder, then build again"
    return StagewrightError(Reason.DAMAGED, f"{path}: changed since the layer was built", hint=hint)
