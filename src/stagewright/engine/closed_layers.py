"""Verification of the layers of an ordinary user: only the ids of builds can read all of their files.

:func:`examine_inside` starts ``python -m stagewright.engine.closed_layers STORE KEY...`` in the user namespace of
builds, which prints each finding as a line of JSON.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stagewright import ids
from stagewright.engine.worker import isolated
from stagewright.graph.node import Yields
from stagewright.interpreter import python
from stagewright.run import run
from stagewright.store.content import Damage
from stagewright.store.integrity import Finding, State, examine
from stagewright.store.store import Store, ids_of


def is_closed(store: Store, key: str) -> bool:
    """Return True if this process cannot read a layer, but the user namespace of builds can."""
    if os.geteuid() == 0 or ids.as_host_root():
        return False
    return ids_of(store.folder(Yields.LAYER, key)) == ids.mark()


def examine_inside(store: Store, keys: Sequence[str], report: Callable[[Finding], None]) -> None:
    """Examine layers in the user namespace of builds, and report each finding.

    Raises: HOST_FEATURE if the namespace cannot be made.
    """

    def take(line: str) -> None:
        if line.startswith("{"):  # others are warnings
            report(_finding(json.loads(line)))

    run(isolated(python("stagewright.engine.closed_layers", str(store.path), *keys)), on_line=take)


def _finding(data: dict[str, Any]) -> Finding:
    """Return the finding of a line."""
    damages = tuple(Damage(**one) for one in data.pop("damages"))
    return Finding(Yields(data.pop("yields")), state=State(data.pop("state")), damages=damages, **data)


def main(folder: Path, keys: Sequence[str]) -> None:
    """Print the findings about layers of a store."""
    store = Store(folder)
    for key in keys:
        data = dataclasses.asdict(examine(store, Yields.LAYER, key))
        del data["origins"]  # only a comparison of all findings knows them
        sys.stdout.write(json.dumps(data) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
