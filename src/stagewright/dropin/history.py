"""The specs that made the sources of a spec, from the ledger of the storedir."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stagewright.catalyst.load_release import load
from stagewright.catalyst.spec import parse, read_spec
from stagewright.dropin.ledger import LedgerEntry, recall
from stagewright.errors import StagewrightError

_NEWEST = "-latest"


def history(spec: Path, conf: Sequence[Path], folder: Path) -> Mapping[Path, LedgerEntry]:
    """Return the records of the specs that a spec builds on, by the files that contain the specs now.

    The text of a spec whose file is gone or was changed is written into ``folder``. A source that ends in ``-latest``
    is the result of an earlier release; it stays a seed, because the chain of releases has no end.
    """
    found: dict[Path, LedgerEntry] = {}
    while True:
        release, graph = load([spec, *found], conf, {})
        wanted = {source for made in graph.results for source in made.seeds.values() if not source.endswith(_NEWEST)}
        records = ((source, recall(Path(release.config.storedir), source)) for source in sorted(wanted))
        new = {
            _file(record, folder / f"{len(found)}-{number}.spec"): record
            for number, (_, record) in enumerate(records)
            if record
        }
        new = {file: record for file, record in new.items() if file not in found and file != spec}
        if not new:
            return found
        found |= new


def _file(record: LedgerEntry, spare: Path) -> Path:
    """Return the file that the spec was read from if its content is the same, else a new file."""
    values = parse(record.text, record.file).values
    try:
        if read_spec(record.file).values == values:
            return record.file
    except StagewrightError:
        pass
    spare.write_text(record.text, encoding="utf-8")
    return spare
