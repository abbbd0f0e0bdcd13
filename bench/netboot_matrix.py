"""``make netboot-matrix``: every way to start from the network, in examples/netboot and examples/arm64.

It writes a table in docs/netboot.md. Each line is a test of these projects, one at a time. Times are those of the
machine that ran it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.matrix import ARM64, ROOT, Table, copy, fill, machine_of
from stagewright.netboot.methods import Method
from stagewright.project.model import Entry
from stagewright.stages.netboot_test import NetbootTest, NetStart

EXAMPLE, PAGE = ROOT / "examples" / "netboot", ROOT / "docs" / "netboot.md"
BEGIN = "<!-- matrix: written by make netboot-matrix -->\n"
COLUMNS = ("machine", "loads first", "image", "result", "login after", "memory available")


def main() -> int:
    """The matrix of network boots."""
    table = Table({EXAMPLE: copy, ARM64: copy}, PAGE, BEGIN, COLUMNS, NetbootTest, row)
    return fill(table, "python -m bench.netboot_matrix", __doc__)


def row(entry: Entry, project: Path) -> Iterator[str]:
    """The line of one test."""
    test = entry.model
    assert isinstance(test, NetbootTest)
    path = project / "out" / entry.name / "result.json"
    report = json.loads(path.read_text()) if path.exists() else {"passed": False, "milestones": {}}
    login = report["milestones"].get("login prompt")
    memory = report.get("memory_available")
    result = "works" if report["passed"] else "FAILED"
    method = test.method or (Method.HTTP if test.start is NetStart.HTTP_BOOT else Method.INITRD)
    cells = [machine_of(entry, project), str(test.start), str(method), result]
    cells += [f"{login:.0f} s" if login else "-", f"{memory >> 10} of {test.memory} MiB" if memory else "-"]
    yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
