"""``make memory-matrix``: start machines with the least memory, and with less, by the set of examples/netboot.

It writes a table in docs/netboot.md. Each row has a boot with the memory that the set names for the method, and one
with 64 MiB less. ``initramfs`` stands for a loader that compares nothing: an iPXE with ``any-memory``.
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

from bench.matrix import END, ROOT
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
BEGIN = "<!-- matrix: written by make memory-matrix -->\n"
HEAD = "| machine | loads first | image | least memory | with it | with 64 MiB less |\n|---|---|---|---|---|---|\n"
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
        chosen = {"method": self.method} if self.start.takes_method else {}
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


ROWS: Sequence[tuple[str, NetStart, Method, bool]] = (
    *(("bios", NetStart.IPXE_HTTP, method, True) for method in Method),
    *(("bios", NetStart.IPXE_HTTP, method, False) for method in Method),
    ("bios", NetStart.UNDIONLY, Method.INITRD, True),
    ("bios", NetStart.GRUB, Method.INITRD, True),
    ("bios", NetStart.PXELINUX, Method.INITRD, True),
    *(("uefi", NetStart.IPXE_HTTP, method, compares) for method in Method for compares in (True, False)),
    ("uefi", NetStart.SNPONLY, Method.INITRD, True),
    ("uefi", NetStart.GRUB, Method.INITRD, True),
    ("uefi", NetStart.HTTP_BOOT, Method.HTTP, True),
    ("uefi", NetStart.HTTP_BOOT, Method.INITRD, True),
)
"""Firmware, program that the machine loads first, method, and True if the loader compares the memory."""


def row(number: int, folder: Path, needs: Mapping[str, int]) -> str:
    """Return a row of the table, after two boots."""
    firmware, start, method, compares = ROWS[number]
    least = needs[method]
    ends = [_apart(number, folder, memory) for memory in (least, least - UNIT)]
    first = str(start) if compares else "initramfs"
    return f"| {' | '.join([firmware, first, str(method), f'{least} MiB', *ends])} |\n"


def _apart(number: int, folder: Path, memory: int) -> str:
    """Run a trial in a process with a separate network namespace, and return its end."""
    words = ["unshare", "--net", "--mount", "--", sys.executable, "-m", "bench.memory_matrix", "--set", str(folder)]
    done = subprocess.run([*words, "--trial", str(number), str(memory)], stdout=subprocess.PIPE, text=True, check=True)
    return str(json.loads(done.stdout))


def main() -> int:
    """Build the set, boot it, and write the table; return 1 if a machine did not start with the least memory."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory_matrix", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("/var/cache/stagewright"), help="kept between runs")
    parser.add_argument("--set", type=Path, help="a finished set with all methods, to build nothing")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page with the table")
    parser.add_argument("--rows", type=int, nargs="*", help="numbers of rows; the table is printed only")
    parser.add_argument("--trial", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="memory-", dir="/var/tmp") as name:
        if options.trial:
            number, memory = options.trial
            firmware, start, method, compares = ROWS[number]
            print(json.dumps(Trial(firmware, start, method, memory, compares).run(options.set, Path(name))))
            return 0
        folder = options.set or build_set(Path(name) / "project", options.store)
        needs, rows = memory_of(folder), ""
        for number in range(len(ROWS)) if options.rows is None else options.rows:
            rows += (text := row(number, folder, needs))
            print(text, end="", flush=True)
    if options.rows is None:
        before, rest = options.page.read_text(encoding="utf-8").split(BEGIN)
        options.page.write_text(before + BEGIN + HEAD + rows + END + rest.split(END, 1)[1], encoding="utf-8")
    return 0 if rows.count("| starts |") >= len(rows.splitlines()) else 1


if __name__ == "__main__":
    sys.exit(main())
