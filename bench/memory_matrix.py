"""``make memory-matrix``: start machines with the least memory, and with less, by the set of examples/netboot.

It writes a table in docs/netboot.md. Each row has a boot with the memory that the set names for the method, one with
64 MiB less, and one with 80 MiB less by a loader that compares nothing, such as an iPXE with ``any-memory``.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.matrix import ROOT
from bench.table import line, write
from bench.verity_matrix import READY, build_set
from stagewright.arch import Arch
from stagewright.errors import StagewrightError
from stagewright.kinds.tests.netboots import NetbootTest, NetStart
from stagewright.netboot.memory import UNIT
from stagewright.netboot.methods import Method
from stagewright.netboot.writer import memory_of
from stagewright.testing.boot import boot
from stagewright.testing.script import BootScript
from stagewright.vm import accel

PAGE = ROOT / "docs" / "netboot.md"
COLUMNS = ("machine", "loads first", "image", "least memory", "with it", "64 MiB less", "80 MiB less, not compared")
BASE_URL = "http://boot.example.org/gentoo"  # of the example
SECONDS = 600.0

ENDS = {
    READY: "starts",
    r"^Not enough memory: this machine has ": "sentence of the loader",
    r"stagewright: not enough memory: ": "sentence of the initramfs",
    r"Kernel panic - not syncing|Out of memory and no killable processes": "panic of the kernel",
    r"^Could not start |^error: .*out of memory": "error of the loader",
}
"""Ends of a start: patterns of the console, and words for the table."""


@dataclass(frozen=True)
class Trial:
    """A start from the network. ``compares`` is False to let no loader compare the memory. ``memory`` is in MiB."""

    firmware: str
    start: NetStart
    method: Method
    memory: int
    compares: bool = True

    def run(self, folder: Path, work: Path) -> str:
        """Start the machine in a new network namespace. Return its end, in words for the table."""
        chosen = {} if self.start.has_menu else {"method": self.method}
        test = NetbootTest.model_validate(
            {
                "netboots": "pxe",
                "start": self.start,
                "firmware": self.firmware,
                "memory": self.memory,
                "expect": [READY],
                **chosen,
            }
        )
        variables = {} if self.compares else {"any-memory": "1"}
        script = BootScript(expect=("|".join(ENDS),), seconds=SECONDS)
        with test.serving(folder, work / "served", BASE_URL, Arch.AMD64, lambda _: None, variables) as given:
            machine = given
            if self.firmware == "bios":  # the BIOS then shows the loader on the serial port
                machine = replace(given, extra=(*given.extra, "-machine", "graphics=off"))
            try:
                boot(machine, script, work / "machine", accel.probe())
            except StagewrightError as error:
                print(error, file=sys.stderr)
        said = (work / "machine/console.log").read_text(encoding="utf-8", errors="replace")
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", said)
        return next((words for pattern, words in ENDS.items() if re.search(pattern, text, re.MULTILINE)), "nothing")


ROWS: Sequence[tuple[str, NetStart, Method]] = (
    *(("bios", NetStart.IPXE_HTTP, method) for method in Method),
    ("bios", NetStart.UNDIONLY, Method.INITRD),
    ("bios", NetStart.GRUB, Method.INITRD),
    ("bios", NetStart.PXELINUX, Method.INITRD),
    *(("uefi", NetStart.IPXE_HTTP, method) for method in (Method.INITRD, Method.HTTP, Method.STREAM)),
    ("uefi", NetStart.SNPONLY, Method.INITRD),
    ("uefi", NetStart.GRUB, Method.INITRD),
    ("uefi", NetStart.HTTP_BOOT, Method.HTTP),
    ("uefi", NetStart.HTTP_BOOT, Method.INITRD),
)
"""Firmware, program that the machine loads first, and method."""

COMPARING = (NetStart.IPXE_HTTP, NetStart.UNDIONLY, NetStart.SNPONLY, NetStart.GRUB)
"""Programs that compare the memory."""

SILENT = (NetStart.IPXE_HTTP, NetStart.UNDIONLY)
"""Those of them that can be asked not to, by a variable of the script."""


def row(number: int, folder: Path, needs: Mapping[str, int]) -> tuple[list[str], bool]:
    """Return a row of the table after its boots, and True if the machine started with the least memory."""
    firmware, start, method = ROWS[number]
    least = needs[method]
    with_it = _apart(number, folder, least, "compare")
    less = _apart(number, folder, least - UNIT, "compare") if start in COMPARING else "-"
    skipped = start in COMPARING and start not in SILENT
    unasked = "-" if skipped else _apart(number, folder, least - UNIT - 16, "start")
    cells = [firmware, str(start), str(method), f"{least} MiB", with_it, less, unasked]
    return cells, with_it == "starts"


def _apart(number: int, folder: Path, memory: int, what: str) -> str:
    """Run a trial in a process with a separate network namespace, and return its end."""
    words = ["unshare", "--net", "--mount", "--", sys.executable, "-m", "bench.memory_matrix", "--set", str(folder)]
    done = subprocess.run(
        [*words, "--trial", str(number), str(memory), what], stdout=subprocess.PIPE, text=True, check=True
    )
    return str(json.loads(done.stdout))


def main() -> int:
    """Build the set, boot it, and write the table; return 1 if a machine did not start with the least memory."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory_matrix", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("/var/cache/stagewright"), help="kept between runs")
    parser.add_argument("--set", type=Path, help="a finished set with all methods, to build nothing")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page with the table")
    parser.add_argument("--rows", type=int, nargs="*", help="numbers of rows; the others stay")
    parser.add_argument("--trial", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="memory-", dir="/var/tmp") as name:
        if options.trial:
            number, memory, what = options.trial
            trial = Trial(*ROWS[int(number)], int(memory), compares=what == "compare")
            print(json.dumps(trial.run(options.set, Path(name))))
            return 0
        folder = options.set or build_set(Path(name) / "project", options.store)
        needs, passed = memory_of(folder), True
        rows: list[list[str]] = []
        for number in range(len(ROWS)) if options.rows is None else options.rows:
            cells, started = row(number, folder, needs)
            print(line(cells), end="", flush=True)
            rows, passed = [*rows, cells], passed and started
    write(options.page, "memory-matrix", COLUMNS, rows, part_of=0 if options.rows is None else 3)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
