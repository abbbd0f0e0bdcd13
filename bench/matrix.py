"""``make media-matrix``: every medium of examples/media in every way that it is meant for, as a table in docs/media.md.

Each line is a boot test of that project, one at a time. Times are those of the machine that ran it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.project.load import load
from stagewright.project.model import Entry
from stagewright.stages.boot_test import BootTest
from stagewright.stages.registry import kinds

ROOT = Path(__file__).parents[1]
EXAMPLE, PAGE = ROOT / "examples" / "media", ROOT / "docs" / "media.md"
BEGIN, END = "<!-- matrix: written by make media-matrix -->\n", "<!-- end of the matrix -->\n"
COLUMNS = ("medium", "firmware", "as", "result", "login after", "memory available")
VARIABLES, KEY = Path("/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd"), Path("/usr/share/ovmf/PkKek-1-snakeoil.key")
"""Keys that everybody has (package ovmf): good for trying Secure Boot out, and for nothing else."""


def main() -> int:
    """The matrix of media."""
    return fill(Table(EXAMPLE, PAGE, BEGIN, COLUMNS, row, prepare), "python -m bench.matrix", __doc__)


@dataclass(frozen=True)
class Table:
    """A table of boots: the example whose tests they are, the page it is on, behind which line, and how it is made."""

    example: Path
    page: Path
    begin: str
    columns: Sequence[str]
    rows: Callable[[Entry, Path], Iterable[str]]
    prepare: Callable[[Path], Path]


def fill(table: Table, prog: str, description: str | None) -> int:
    """Build a copy of the example, boot, write the table. Returns 1 when a boot did not end as it should."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--store", type=Path, default=Path("/var/cache/stagewright"), help="kept between runs")
    parser.add_argument("--page", type=Path, default=table.page, help="the page with the table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="matrix-", dir="/var/tmp") as name:
        project = table.prepare(Path(name) / table.example.name)
        words = [sys.executable, "-m", "stagewright", "-C", str(project), "--store", str(options.store)]
        code = subprocess.run([*words, "build", "--keep-going"], check=False).returncode
        lines = [f"| {' | '.join(table.columns)} |", f"|{'---|' * len(table.columns)}"]
        tests = load(project, kinds()).entries["tests"].values()
        lines += [line for entry in tests for line in table.rows(entry, project)]
    text = "".join(f"{line}\n" for line in lines)
    print(text)
    before, rest = options.page.read_text().split(table.begin)
    options.page.write_text(before + table.begin + text + END + rest.split(END)[1])
    return code


def prepare(project: Path) -> Path:
    """A copy of the example, with the media for Secure Boot where there are keys to sign them with."""
    shutil.copytree(EXAMPLE, project, symlinks=False, ignore=shutil.ignore_patterns("out", "keys"))
    if VARIABLES.exists() and KEY.exists():
        keys = project / "keys"
        keys.mkdir()
        shutil.copy(VARIABLES, keys / "variables.fd")
        shutil.copy(KEY.with_suffix(".pem"), keys / "db.crt")
        secret = project.parent / "db.key"
        words = ["openssl", "pkey", "-in", str(KEY), "-passin", "pass:snakeoil", "-out", str(secret)]
        subprocess.run(words, check=True)
        signed = project / "signed.toml"
        signed.write_text(signed.read_text().replace("~/keys/media.key", str(secret)))
        file = project / "stagewright.toml"
        file.write_text(
            re.sub(r"^format = 1\n", 'format = 1\ninclude = ["signed.toml"]\n', file.read_text(), flags=re.M)
        )
    return project


def row(entry: Entry, project: Path) -> Iterator[str]:
    """The line of one test."""
    test = entry.model
    assert isinstance(test, BootTest)
    result = project / "out" / entry.name / "result.json"
    report = json.loads(result.read_text()) if result.exists() else {"passed": False, "milestones": {}}
    login = report["milestones"].get("login prompt")
    memory = report.get("memory_available")
    said = ("refused, as it should" if test.refused else "works") if report["passed"] else "FAILED"
    cells = [test.boots, test.firmware, str(test.attach), said]
    cells += [f"{login:.0f} s" if login else "-", f"{memory >> 10} of {test.memory} MiB" if memory else "-"]
    yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
