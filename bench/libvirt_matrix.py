"""``make libvirt-matrix``: start the demo's ISO, network set and disk image by libvirt, to a login on the console.

It writes a table in docs/boot.md. Each machine is started by the line for virt-install, and as the domain that ``boot``
prints, by the libvirt of the system and by that of a user. Times are those of the computer that ran it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.demo_disk import DISK
from bench.libvirt import NOBODY, Libvirt, lacking, libvirt
from bench.matrix import ROOT, copy
from bench.table import line, write

DEMO, PAGE = ROOT / "examples" / "demo", ROOT / "docs" / "boot.md"
COLUMNS = ("image", "started by", "libvirt of the system", "libvirt of a user")

LIMIT = 900.0
"""Seconds for one boot to a login."""

IMAGES = {
    "ISO": ("demo-iso-amd64-1.0.iso", []),
    "disk image": ("demo-disk-amd64-1.0.qcow2", ["--keep"]),
    "network set": ("pxe", []),
}
"""The images by their files in ``out/``, and an option that they need."""


def main() -> int:
    """Write the matrix; return 1 if a machine did not get to its login."""
    parser = argparse.ArgumentParser(prog="python -m bench.libvirt_matrix", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("/var/cache/stagewright"), help="kept between runs")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page with the table")
    parser.add_argument("--only", nargs="*", choices=IMAGES, help="names of images; the rows of others stay")
    options = parser.parse_args()
    if why := lacking():
        sys.exit(f"not started: {why}")
    names = options.only or list(IMAGES)
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory(prefix="libvirt-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        out = _build(folder, options.store)
        for image in names:
            for by in ("virt-install", "virsh"):
                cells = [_boot(folder, out, image, by, system=system) for system in (True, False)]
                rows.append([image, by, *cells])
                print(line(rows[-1]), end="", flush=True)
    write(options.page, "libvirt-matrix", COLUMNS, rows, part_of=2 if options.only else 0)
    return int(any("FAILED" in cells for cells in rows))


def _build(folder: Path, store: Path) -> Path:
    """Build the demo with a disk image. Return the folder with copies of the results."""
    project = copy(DEMO, folder / "demo")
    with (project / "stagewright.toml").open("a", encoding="utf-8") as stream:
        stream.write(DISK)
    words = [sys.executable, "-m", "stagewright", "-C", str(project), "--store", str(store), "build"]
    subprocess.run([*words, "iso", "pxe", "disk"], check=True)
    shutil.copytree(project / "out", folder / "out", symlinks=True)
    return folder / "out"


def _boot(folder: Path, out: Path, image: str, by: str, *, system: bool) -> str:
    """Start an image. Return the cell of the table: the time to the login, or why there is none."""
    place = folder / f"{image.replace(' ', '-')}-{by}-{'system' if system else 'user'}"
    place.mkdir()
    place.chmod(0o777)
    with libvirt(system=system) as running:
        try:
            seconds = _login(running, place, out, image, by)
        except (AssertionError, subprocess.SubprocessError) as error:
            print(f"{place.name}: {str(error)[-3000:]}", file=sys.stderr, flush=True)
            return "FAILED"
    return f"login after {seconds:.0f} s"


def _login(running: Libvirt, place: Path, out: Path, image: str, by: str) -> float:
    file, more = IMAGES[image]
    options = [word for option in more for word in (option, str(place / "machine"))]
    printed = _printed(running, place, out / file, [f"--{'libvirt-xml' if by == 'virsh' else by}", *options])
    name = (out / file).stem
    words = ["sh", "-c", printed]
    if by == "virsh":
        (place / "domain.xml").write_text(printed, encoding="utf-8")
        running.run("virsh", "define", "--validate", place / "domain.xml")
        words = ["virsh", "start", name, "--console"]
    begin = time.monotonic()
    with _console(running.command(words)) as console:
        _wait(console, b"login: ", place / "console.log")
        seconds = time.monotonic() - begin
        running.run("virsh", "destroy", name)
    running.run("virsh", "undefine", name, "--nvram")
    return seconds


def _printed(running: Libvirt, place: Path, image: Path, options: Sequence[str]) -> str:
    """Return what ``boot`` prints for the user of this libvirt. The files that it makes are that user's."""
    words = [sys.executable, "-m", "stagewright", "--store", str(place / "store"), "boot", str(image), *options]
    text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    if not running.is_system:  # as an ordinary user prints it
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", place], check=True)
        text = text.replace('<seclabel model="dac" relabel="no" />', "")
    return text


@contextlib.contextmanager
def _console(words: Sequence[str]) -> Iterator[int]:
    """Run a command on a new terminal and yield the descriptor of the terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(words[0], list(words))
    try:
        yield terminal
    finally:
        os.close(terminal)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _wait(terminal: int, text: bytes, log: Path) -> None:
    """Wait until the terminal shows a text. Raises AssertionError with the end of what it showed."""
    said, end = b"", time.monotonic() + LIMIT
    while text not in said:
        assert time.monotonic() < end, said[-3000:].decode(errors="replace")
        if select.select([terminal], [], [], 1)[0]:
            try:
                said += os.read(terminal, 4096)
            except OSError as error:
                raise AssertionError(said[-3000:].decode(errors="replace")) from error
        log.write_bytes(said)


if __name__ == "__main__":
    sys.exit(main())
