"""``make update-matrix``: update the system of examples/updates in every way that Stagewright tests.

It writes a table in docs/updates.md: a normal update, power failures at ten moments and at the end of the download,
changed feeds, and new versions that do not start. The tests run one at a time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.matrix import END, ROOT, copy

EXAMPLE, PAGE = ROOT / "examples" / "updates", ROOT / "docs" / "updates.md"
BEGIN = "<!-- matrix: written by make update-matrix -->\n"

TESTS = {
    "update": ("from one version to the next", ""),
    "cuts": ("power failures at ten moments", "cuts = [0.02, 0.1, 0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97]"),
    "last-cut": ("power failure at the end of the download", "cuts = [1]"),
    "changed": ("feeds that were changed", 'changed = ["content", "sums", "key", "unsigned", "older"]'),
    "kernel": ("a new kernel that panics", 'broken = "kernel"'),
    "root": ("a new root that is damaged", 'broken = "root"'),
    "target": ("a new system that never gets ready", 'broken = "target"'),
}
"""Tests by name: the way, and its setting. The first one is in the example."""

_TEST = """
[tests.{name}]
extends = "update"
timeout = 7200
{setting}
"""


def prepare(example: Path, target: Path) -> Path:
    """Make a copy of the example with all tests. Return its folder."""
    project = copy(example, target)
    tests = [_TEST.format(name=name, setting=setting) for name, (_, setting) in TESTS.items() if setting]
    with (project / "stagewright.toml").open("a", encoding="utf-8") as stream:
        stream.writelines(tests)
    return project


def row(project: Path, name: str) -> tuple[str, bool]:
    """Return the row of a test that was run, and True if it passed."""
    way, setting = TESTS[name]
    file = project / "out" / "tests" / name / "result.json"
    result = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"passed": False, "seconds": 0}
    passed = bool(result["passed"])
    cells = [way, f"`{setting}`" if setting else "", "passed" if passed else "FAILED", f"{result['seconds']:.0f} s"]
    return f"| {' | '.join(cells)} |\n", passed


def main() -> int:
    """Run the tests and write the table. Return 1 if a test failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.update_matrix", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("/var/cache/stagewright"), help="kept between runs")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page with the table")
    parser.add_argument("--only", nargs="*", choices=TESTS, help="print the rows of these tests instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="matrix-", dir="/var/tmp") as folder:
        project = prepare(EXAMPLE, Path(folder) / EXAMPLE.name)
        names = options.only or list(TESTS)
        words = [sys.executable, "-m", "stagewright", "-C", str(project), "--store", str(options.store)]
        subprocess.run([*words, "test", *names], check=False)
        rows = [row(project, name) for name in names]
    lines = ["| update | setting | result | time |\n", "|---|---|---|---|\n", *(line for line, _ in rows)]
    if options.only:
        print("".join(lines))
    else:
        before, _, rest = options.page.read_text(encoding="utf-8").partition(BEGIN)
        options.page.write_text(before + BEGIN + "".join(lines) + END + rest.partition(END)[2], encoding="utf-8")
    return 0 if all(passed for _, passed in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
