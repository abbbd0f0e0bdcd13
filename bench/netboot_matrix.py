"""``make netboot-matrix``: every way to start from the network in examples/netboot, as a table in docs/netboot.md.

Each line is a test of that project, one at a time. Times are those of the machine that ran it.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.matrix import ROOT, Table, fill
from stagewright.project.model import Entry
from stagewright.stages.netboot_test import NetbootTest

EXAMPLE, PAGE = ROOT / "examples" / "netboot", ROOT / "docs" / "netboot.md"
BEGIN = "<!-- matrix: written by make netboot-matrix -->\n"
COLUMNS = ("machine", "loads first", "image", "result", "login after", "memory available")


def main() -> int:
    """The matrix of network boots."""
    return fill(Table(EXAMPLE, PAGE, BEGIN, COLUMNS, row, prepare), "python -m bench.netboot_matrix", __doc__)


def prepare(project: Path) -> Path:
    """A copy of the example."""
    return shutil.copytree(EXAMPLE, project, symlinks=False, ignore=shutil.ignore_patterns("out"))


def row(entry: Entry, project: Path) -> Iterator[str]:
    """The line of one test."""
    test = entry.model
    assert isinstance(test, NetbootTest)
    result = project / "out" / entry.name / "result.json"
    report = json.loads(result.read_text()) if result.exists() else {"passed": False, "milestones": {}}
    login = report["milestones"].get("login prompt")
    memory = report.get("memory_available")
    cells = [test.firmware, str(test.start), str(test.method or "initrd"), "works" if report["passed"] else "FAILED"]
    cells += [f"{login:.0f} s" if login else "-", f"{memory >> 10} of {test.memory} MiB" if memory else "-"]
    yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
