"""``make media-matrix``: boot every medium of examples/media and examples/arm64 in every way it supports.

It writes a table in docs/media.md. Each line is a boot test of these projects; the tests run one at a time. The times
are those of the machine that ran them.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.table import line, write
from stagewright.kinds.common.context import MachineContext
from stagewright.kinds.common.guest import MachineTest
from stagewright.kinds.registry import graph_of, kinds
from stagewright.kinds.tests.boots import Attach, BootTest
from stagewright.project.load import load

ROOT = Path(__file__).parents[1]
MEDIA, ARM64, PAGE = ROOT / "examples" / "media", ROOT / "examples" / "arm64", ROOT / "docs" / "media.md"
TARGET = "media-matrix"
COLUMNS = ("medium", "machine", "as")
VARIABLES, KEY = Path("/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd"), Path("/usr/share/ovmf/PkKek-1-snakeoil.key")
"""Public keys of the package ovmf, private key included: they can only be used to try out Secure Boot."""


def main() -> int:
    """Write the matrix of media."""
    return fill(
        Table({MEDIA: prepare, ARM64: copy}, PAGE, TARGET, COLUMNS, BootTest, cells), "python -m bench.matrix", __doc__
    )


@dataclass(frozen=True)
class Table:
    """A table of boots: its page, the target of make, its first columns, and the kind of test of its rows.

    ``examples`` maps each example with tests of that kind to a function that makes a copy to build. ``cells`` returns
    the first cells of a row from its test and the machine that the test starts.
    """

    examples: Mapping[Path, Callable[[Path, Path], Path]]
    page: Path
    target: str
    columns: Sequence[str]
    tests: type[MachineTest]
    cells: Callable[[MachineTest, str], list[str]]


def fill(table: Table, prog: str, description: str | None) -> int:
    """Build copies of the examples, boot them and write the table; return 1 if a test failed."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--store", type=Path, default=Path("/var/cache/stagewright"), help="kept between runs")
    parser.add_argument("--page", type=Path, default=table.page, help="the page with the table")
    parser.add_argument("--only", nargs="*", default=[], help="names of tests; the rows of others stay")
    names = [example.name for example in table.examples]
    parser.add_argument("--examples", nargs="*", default=names, choices=names, help="the rows of others stay")
    options = parser.parse_args()
    rows: list[list[str]] = []
    code = 0
    with tempfile.TemporaryDirectory(prefix="matrix-", dir="/var/tmp") as folder:
        for example, make in table.examples.items():
            if example.name not in options.examples:
                continue
            project = make(example, Path(folder) / example.name)
            loaded = load(project, kinds())
            entries = loaded.entries["tests"]
            tests = {name: entry.model for name, entry in entries.items() if isinstance(entry.model, table.tests)}
            tests = {name: test for name, test in tests.items() if not options.only or name in options.only}
            if not tests:
                continue
            words = [sys.executable, "-m", "stagewright", "-C", str(project), "--store", str(options.store)]
            words += ["build", "--keep-going", *tests]
            code = max(code, subprocess.run(words, check=False).returncode)
            for name, test in tests.items():
                context = graph_of(loaded).nodes[entries[name].node_id].context
                assert isinstance(context, MachineContext)
                arch = context.arch
                machine = test.firmware if arch == "amd64" else f"{arch} {test.firmware}"
                rows.append([*table.cells(test, machine), *_outcome(test, project / "out" / name)])
                print(line(rows[-1]), end="", flush=True)
    columns = [*table.columns, "result", "login after", "memory available"]
    is_part = options.only or set(options.examples) != set(names)
    write(options.page, table.target, columns, rows, part_of=len(table.columns) if is_part else 0)
    return code


def _outcome(test: MachineTest, out: Path) -> list[str]:
    """Return the result of a test, the time to its login, and the memory that was available then."""
    result = out / "result.json"
    report: dict[str, Any] = {"passed": False, "milestones": {}}
    if result.exists():
        report = json.loads(result.read_text(encoding="utf-8"))
    refused = isinstance(test, BootTest) and test.refused
    said = ("refused, as it should" if refused else "works") if report["passed"] else "FAILED"
    login, memory = report["milestones"].get("login prompt"), report.get("memory_available")
    return [said, f"{login:.0f} s" if login else "-", f"{memory >> 10} of {test.memory} MiB" if memory else "-"]


def copy(example: Path, project: Path) -> Path:
    """Copy an example."""
    return shutil.copytree(example, project, symlinks=False, ignore=shutil.ignore_patterns("out", "keys"))


def prepare(example: Path, project: Path) -> Path:
    """Copy examples/media, with the media for Secure Boot if this machine has the keys to sign them."""
    copy(example, project)
    if VARIABLES.exists() and KEY.exists():
        keys = project / "keys"
        keys.mkdir()
        shutil.copy(VARIABLES, keys / "variables.fd")
        shutil.copy(KEY.with_suffix(".pem"), keys / "db.crt")
        secret = project.parent / "db.key"
        words = ["openssl", "pkey", "-in", str(KEY), "-passin", "pass:snakeoil", "-out", str(secret)]
        subprocess.run(words, check=True)
        signed = project / "signed.toml"
        signed.write_text(signed.read_text(encoding="utf-8").replace("~/keys/media.key", str(secret)), encoding="utf-8")
        file = project / "stagewright.toml"
        file.write_text(
            re.sub(
                r"^format = 1\n",
                'format = 1\ninclude = ["signed.toml"]\n',
                file.read_text(encoding="utf-8"),
                flags=re.M,
            ),
            encoding="utf-8",
        )
    return project


def cells(test: MachineTest, machine: str) -> list[str]:
    """Return the first cells of a test's row."""
    assert isinstance(test, BootTest)
    device = str(test.attach or Attach.CD)
    how = f"{device}, line {test.entry}" if test.entry > 1 else device
    return [test.boots, machine, how]


if __name__ == "__main__":
    sys.exit(main())
