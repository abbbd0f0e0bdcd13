"""``make verity-matrix``: start machines from the network with changed images, by the set of examples/netboot.

It writes a table in docs/netboot.md: for each method one boot of the image as it is, and five of changed images. A
machine starts the kernel directly, with the arguments of the set's script; ``--jobs`` is how many run at once.
"""

from __future__ import annotations

import argparse
import contextlib
import enum
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.matrix import ROOT, copy
from bench.table import END, begin
from stagewright.errors import StagewrightError
from stagewright.media.payload import IMAGE, INITRAMFS, KERNEL
from stagewright.media.verity import BLOCK
from stagewright.netboot.boot_commands import GATEWAY
from stagewright.netboot.combined import write_combined
from stagewright.netboot.image_servers import NbdServer, NfsServer
from stagewright.netboot.methods import Method
from stagewright.netboot.serve import FileServer
from stagewright.netboot.writer import SCRIPT
from stagewright.testing.boot import boot
from stagewright.testing.results import Report
from stagewright.testing.script import BootScript, Login
from stagewright.vm import accel
from stagewright.vm.machine_spec import MachineSpec

EXAMPLE, PAGE = ROOT / "examples" / "netboot", ROOT / "docs" / "netboot.md"
BEGIN = begin("verity-matrix")
SENTENCE = r"the image was changed: [^\r\n]*"
READY = "the live system is ready"
_HASHES = BLOCK // 32
_EVERY = 64  # blocks; a block of the squashfs is longer


class Change(enum.StrEnum):
    """A change of an image: one bit in some of its blocks."""

    NONE = "nothing"
    HEADER = "header"
    DATA = "data blocks"
    LAST = "last data block"
    ROOT = "root of the tree"
    LEAVES = "leaves of the tree"

    def offsets(self, blocks: int, size: int) -> Iterator[int]:
        """Yield the offsets to change in an image with this number of data blocks and this size in bytes."""
        leaves = size // BLOCK - -(-blocks // _HASHES)
        match self:
            case Change.NONE:
                return
            case Change.HEADER:
                yield 8
            case Change.DATA:
                yield from range(_EVERY * BLOCK + 99, (blocks - 1) * BLOCK, _EVERY * BLOCK)
            case Change.LAST:
                yield blocks * BLOCK - 9
            case Change.ROOT:
                yield blocks * BLOCK + 5
            case Change.LEAVES:  # the first and the last one are read before the live system starts
                yield from range((leaves + 1) * BLOCK + 5, size - BLOCK, BLOCK)


def changed(image: Path, target: Path, change: Change, blocks: int) -> Path:
    """Write a changed copy of an image."""
    shutil.copyfile(image, target)
    with target.open("r+b") as stream:
        for offset in change.offsets(blocks, image.stat().st_size):
            stream.seek(offset)
            (byte,) = stream.read(1)
            stream.seek(offset)
            stream.write(bytes([byte ^ 1]))
    return target


def arguments(folder: Path, method: Method, addresses: Mapping[str, str]) -> str:
    """Return the kernel arguments in a set's script for a method, with these values of the script's variables."""
    script = (folder / SCRIPT).read_text(encoding="utf-8")
    (line,) = re.findall(rf"^:{method}\n(?:.*\n)*?kernel \S+ (.*?) \|\|", script, re.MULTILINE)
    words = re.sub(r"\$\{([\w-]+)\}", lambda match: addresses.get(match[1], ""), line).split()
    return " ".join(word for word in words if not word.startswith("initrd="))


@dataclass(frozen=True)
class Trial:
    """A boot of a set, by a method, with a changed image. ``memory`` is in MiB."""

    folder: Path
    method: Method
    change: Change
    memory: int = 1024

    def run(self, work: Path, seconds: float = 300, script: BootScript | None = None) -> Report:
        """Boot, and return the report. Raises ``BOOT_FAILED`` if the console does not show what is expected.

        ``script`` replaces the one that waits for the change. A set that is not verified can only be unchanged.
        """
        text = (self.folder / SCRIPT).read_text(encoding="utf-8")
        blocks = int((re.findall(r"rd\.stagewright\.verity=(\d+):", text) or ["0"])[0])
        served = work / "served"
        served.mkdir(parents=True)
        image = changed(self.folder / IMAGE, served / IMAGE, self.change, blocks)
        initrd = self.folder / INITRAMFS
        with contextlib.ExitStack() as running:
            addresses = self._serve(served, work, running)
            if self.method is Method.INITRD:
                initrd = work / "combined"
                write_combined(self.folder / INITRAMFS, image, initrd)
            spec = MachineSpec(
                firmware=None,
                kernel=self.folder / KERNEL,
                initrd=initrd,
                append=arguments(self.folder, self.method, addresses),
                memory=self.memory,
                network="user",
            )
            return boot(spec, script or self._script(seconds), work / "machine", accel.probe())

    def _serve(self, served: Path, work: Path, running: contextlib.ExitStack) -> dict[str, str]:
        """Start the server that the method needs. Return the addresses for the script's variables."""
        match self.method:
            case Method.NFS:
                (work / "nfs").mkdir()
                return {"nfs-url": running.enter_context(NfsServer(served, work / "nfs")).url(GATEWAY)}
            case Method.NBD:
                return {"nbd-url": running.enter_context(NbdServer(served / IMAGE)).url(GATEWAY)}
            case _:
                server = running.enter_context(FileServer(served))
                return {"base-url": f"http://{GATEWAY}:{server.port}"}

    def _script(self, seconds: float) -> BootScript:
        if self.change is Change.NONE:
            return BootScript(expect=(READY,), login=Login("root"), poweroff=True, seconds=seconds)
        return BootScript(expect=(SENTENCE,), seconds=seconds)


def row(trial: Trial, work: Path) -> tuple[str, bool]:
    """Run a trial in a folder. Return its row of the table, and True if it passed."""
    try:
        report = trial.run(work)
    except StagewrightError as error:
        print(error, error.detail, sep="\n", file=sys.stderr)
        return f"| {trial.method} | {trial.change} | FAILED | - | - |\n", False
    times, memory = report.machine.milestones, report.machine.memory_available
    if trial.change is Change.NONE:
        cells = ["starts", f"{times['login prompt']:.0f} s", f"{(memory or 0) >> 10} of {trial.memory} MiB"]
    else:
        text = report.machine.console.read_text(encoding="utf-8", errors="replace")
        (sentence,) = re.findall(SENTENCE, text)[:1]
        cells = [f"`{sentence.strip()}`", f"{times[SENTENCE]:.0f} s", "-"]
    return f"| {' | '.join([str(trial.method), str(trial.change), *cells])} |\n", True


def main() -> int:
    """Build the set, boot it, and write the table; return 1 if a boot was not as expected."""
    parser = argparse.ArgumentParser(prog="python -m bench.verity_matrix", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("/var/cache/stagewright"), help="kept between runs")
    parser.add_argument("--set", type=Path, help="a finished set with all methods, to build nothing")
    parser.add_argument("--jobs", type=int, default=1, help="machines at a time; times of several are longer")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page with the table")
    options = parser.parse_args()
    rows, passed = "", True
    with tempfile.TemporaryDirectory(prefix="verity-", dir="/var/tmp") as name:
        folder = options.set or build_set(Path(name) / "project", options.store)
        trials = [Trial(folder, method, change) for method in Method for change in Change]
        places = [Path(name) / f"{one.method}-{one.change}".replace(" ", "-") for one in trials]
        with ThreadPoolExecutor(options.jobs) as pool:
            for text, good in pool.map(row, trials, places):
                print(text, end="", flush=True)
                rows, passed = rows + text, passed and good
    before, rest = options.page.read_text(encoding="utf-8").split(BEGIN)
    head = "| image by | changed | console | after | memory available |\n|---|---|---|---|---|\n"
    options.page.write_text(before + BEGIN + head + rows + END + rest.split(END, 1)[1], encoding="utf-8")
    return 0 if passed else 1


def build_set(project: Path, store: Path) -> Path:
    """Build the set of the example, and return its folder."""
    copy(EXAMPLE, project)
    words = [sys.executable, "-m", "stagewright", "-C", str(project), "--store", str(store), "build", "pxe"]
    subprocess.run(words, check=True)
    return project / "out" / "pxe"


if __name__ == "__main__":
    sys.exit(main())
