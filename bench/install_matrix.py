"""``make install-matrix``: install by stagewright-install in every way, and start what was installed.

It writes a table in docs/install.md, a row after each run. The machines have a small variant of the CD of
examples/install. They run one at a time; times are those of the computer that ran them.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pexpect

from bench import install_disks, install_page, install_rows
from bench.install_lab import Lab, Media
from bench.install_media import write_small
from bench.matrix import ROOT
from bench.table import line, write
from stagewright.errors import StagewrightError
from stagewright.testing.boot import has_emulator_panic

PAGE = ROOT / "docs" / "install.md"
COLUMNS = ("installation", "what the run shows", "result", "time")
BUILT = ("iso", "net", "packed")


@dataclass(frozen=True)
class Row:
    """A row of the table: its first cells, and the function that runs it."""

    way: str
    shows: str
    run: Callable[[Lab], None]


ROWS: Mapping[str, Row] = {
    "iso": Row(
        "ISO by UEFI, `layout = ext4`",
        "a dry run writes nothing; user, keys, names and network after the start from the disk",
        install_rows.from_iso,
    ),
    "disks": Row(
        "wrong disks",
        "mounted, swap, RAID and LVM that run or not, loop device, too small, another size, two with one name, the"
        " medium itself: refused, and no byte of any disk changes",
        install_disks.wrong_disks,
    ),
    "vanish": Row("a disk vanishes in the middle", "reported; `--resume` goes on", install_disks.vanishing),
    "full": Row("a disk is too small for the source", "reported before or in the middle; `--undo`", install_disks.full),
    "luks": Row("`layout = luks`", "the start asks for the passphrase; a wrong one is refused", install_rows.encrypted),
    "cuts": Row(
        "ten power cuts at random moments",
        "half a system never starts; the next start of the medium goes on, or `--undo` clears the disk",
        install_disks.power_cuts,
    ),
    "tpm": Row(
        "`layout = luks-tpm2`",
        "the start asks for nothing; with another TPM it asks for the passphrase",
        install_rows.by_tpm,
    ),
    "network": Row("from the network, 512 MiB", "the image is read over HTTP", install_rows.from_network),
    "unattended": Row("unattended, by an address", "no person; turned off at the end", install_rows.unattended),
    "tarball": Row("a tarball over HTTP", "a changed one is refused, then cleared", install_rows.of_tarball),
    "image": Row("a disk image over HTTP", "made by `--image` on this computer", install_rows.of_image),
    "bios": Row("ISO by BIOS, `layout = bios`", "GRUB starts the disk by BIOS", install_rows.by_bios),
    "uki": Row("`boot = uki`", "ukify makes the image on the live system", install_rows.unified),
    "guided": Row("guided, on the console", "wrong replies are asked for again", install_rows.guided),
    "stick": Row("unattended, by a stick, `layout = xfs`", "no person; restarted at the end", install_rows.by_stick),
    "btrfs": Row("`layout = btrfs`", "as with ext4", install_rows.on_btrfs),
    "page": Row(
        "the commands of this page",
        "build the CD, install in a virtual machine, and start its disk, typed into a shell",
        install_page.type_page,
    ),
}
"""Rows by name."""


def main() -> int:
    """Run the rows and write the table. Return 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.install_matrix", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("/var/cache/stagewright"), help="kept between runs")
    parser.add_argument("--built", type=Path, help="the folder `out` of a project that was built, to build nothing")
    parser.add_argument("--keep", type=Path, help="a new folder for disks and consoles, which are kept after a failure")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page with the table")
    parser.add_argument("--only", nargs="*", choices=ROWS, help="these rows; the page keeps the others")
    options = parser.parse_args()
    failed = False
    with contextlib.ExitStack() as stack:
        name = options.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="install-", dir="/var/tmp"))
        out = options.built or build(Path(name) / "project", options.store)
        media = Media.of(out.resolve(), Path(name) / "medium")
        for one in options.only or ROWS:
            cells, passed = run(one, media, Path(name) / one, options.store)
            failed = failed or not passed
            print(line(cells), end="", flush=True)
            write(options.page, "install-matrix", COLUMNS, [cells], part_of=1)
            if passed:
                shutil.rmtree(Path(name) / one)
    return 1 if failed else 0


def build(project: Path, store: Path) -> Path:
    """Build the media of the small variant. Return the folder with them."""
    write_small(project)
    words = [sys.executable, "-m", "stagewright", "-C", str(project), "--store", str(store), "build", *BUILT]
    subprocess.run(words, check=True)
    return project / "out"


def run(name: str, media: Media, folder: Path, store: Path | None = None) -> tuple[list[str], bool]:
    """Run a row, and again after a panic that the emulator caused. Return its cells, and True if it passed."""
    row = ROWS[name]
    for attempt in (1, 2):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        begin = time.monotonic()
        try:
            row.run(Lab(media, folder, name, store))
        except (StagewrightError, AssertionError, subprocess.SubprocessError, pexpect.ExceptionPexpect) as error:
            print(f"{name}: {error}\n{getattr(error, 'detail', '')}", file=sys.stderr, flush=True)
            if attempt == 1 and has_emulator_panic(folder / "console.log"):
                continue
            return [row.way, row.shows, "FAILED", f"{time.monotonic() - begin:.0f} s"], False
        return [row.way, row.shows, "passed", f"{time.monotonic() - begin:.0f} s"], True
    raise AssertionError("not reached")


if __name__ == "__main__":
    sys.exit(main())
