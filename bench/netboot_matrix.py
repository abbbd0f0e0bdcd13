"""``make netboot-matrix``: every way to start from the network in examples/netboot, as a table in docs/netboot.md.

Each line is a test of that project, one at a time. Times are those of the machine that ran it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.matrix import END, ROOT
from stagewright.project.load import load
from stagewright.project.model import Entry
from stagewright.stages.netboot_test import NetbootTest
from stagewright.stages.registry import kinds

EXAMPLE, PAGE = ROOT / "examples" / "netboot", ROOT / "docs" / "netboot.md"
BEGIN = "<!-- matrix: written by make netboot-matrix -->\n"
HEAD = ["| machine | loads first | image | result | login after | memory available |", "|---|---|---|---|---|---|"]


def main() -> int:
    """Build, boot, write the table. Returns 1 when a boot did not end as it should."""
    parser = argparse.ArgumentParser(prog="python -m bench.netboot_matrix", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("/var/cache/stagewright"), help="kept between runs")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page with the table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="matrix-", dir="/var/tmp") as name:
        project = Path(name) / "netboot"
        shutil.copytree(EXAMPLE, project, symlinks=False, ignore=shutil.ignore_patterns("out"))
        words = [sys.executable, "-m", "stagewright", "-C", str(project), "--store", str(options.store)]
        code = subprocess.run([*words, "build", "--keep-going"], check=False).returncode
        put_table(options.page, project)
    return code


def put_table(page: Path, project: Path) -> None:
    """Write the table of a project's tests into a page."""
    tests = list(load(project, kinds()).entries["tests"].values())
    table = "".join(f"{line}\n" for line in [*HEAD, *(row(entry, project) for entry in tests)])
    before, rest = page.read_text().split(BEGIN)
    page.write_text(before + BEGIN + table + END + rest.split(END)[1])
    print(table)


def row(entry: Entry, project: Path) -> str:
    """The line of one test."""
    test = entry.model
    assert isinstance(test, NetbootTest)
    result = project / "out" / entry.name / "result.json"
    report = json.loads(result.read_text()) if result.exists() else {"passed": False, "milestones": {}}
    login = report["milestones"].get("login prompt")
    memory = report.get("memory_available")
    cells = [test.firmware, str(test.start), str(test.method or "initrd"), "works" if report["passed"] else "FAILED"]
    cells += [f"{login:.0f} s" if login else "-", f"{memory >> 10} of {test.memory} MiB" if memory else "-"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
