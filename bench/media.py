"""Making an ISO and its digests from ready parts, against the same programs called by hand on the same files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from bench.measure import Row, Setting, best, timed
from stagewright.media.arguments import InitramfsKind
from stagewright.media.iso import EFI_SYSTEM_PARTITION, make_iso
from stagewright.media.layout import MediumParts, boot_menu, iso_contents
from stagewright.media.loaders import Loader
from stagewright.media.payload import BootKernel, Payload
from stagewright.media.settings import IsoSettings
from stagewright.release.artifact_digests import DigestedFile

EPOCH = 1795132800
ROUNDS = 5
SIZES = {"boot/gentoo": 8 << 20, "boot/gentoo.igz": 40 << 20, "image.squashfs": 400 << 20}
"""Parts of a small live system, in bytes."""

_BY_HAND = f"""
truncate -s 50M "$2/esp.img" && mkfs.vfat "$2/esp.img" > "$2/log" && mcopy -s -i "$2/esp.img" "$1/esp"/* :: &&
xorriso -as mkisofs -quiet -iso-level 3 -rational-rock -r -volid LIVE -partition_offset 16 --protective-msdos-label \\
    -append_partition 2 {EFI_SYSTEM_PARTITION} "$2/esp.img" -appended_part_as_gpt \\
    -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot -o "$2/out.iso" "$1/iso"
for program in b2sum sha512sum sha256sum; do $program "$2/out.iso" > "$2/$program" & done
wait
"""
"""The digests are those that the files next to an image list (release/artifact_digests.py)."""


def measure(setting: Setting) -> list[Row]:
    """Measure Stagewright and the floor in turns. The limit is for processor time: other programs do not count."""
    folder = setting.folder
    parts = _parts(folder / "parts", setting)
    ours, floors = [], []
    for number in range(setting.count(ROUNDS)):
        ours.append(_once(folder / f"ours{number}", _assemble, parts))
        floors.append(_once(folder / f"hand{number}", _by_hand, parts))
    (mine, my_cpu), (floor, its_cpu) = map(best, (ours, floors))
    note = f"{mine:.2f} s against {floor:.2f} s, of processors {my_cpu:.2f} s against {its_cpu:.2f} s"
    return [Row("ISO and digests from ready parts / by hand", my_cpu / max(its_cpu, 0.01), 1.3, "", note)]


def _parts(folder: Path, setting: Setting) -> Path:
    """Write the folder of a payload and, for the call by hand, the same files laid out as on a medium."""
    for name, size in SIZES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(setting.bytes(size)))
        for tree in ("iso", *([] if name == "image.squashfs" else ["esp"])):
            (folder / tree / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(path, folder / tree / name)
    loader = folder / "loaders/systemd-boot/BOOTX64.EFI"
    loader.parent.mkdir(parents=True)
    loader.write_bytes(os.urandom(100_000))
    (folder / "esp/EFI/BOOT").mkdir(parents=True)
    shutil.copy(loader, folder / "esp/EFI/BOOT/BOOTX64.EFI")
    return folder


def _assemble(parts: Path, work: Path) -> None:
    kernel = BootKernel("gentoo", "6.1", "boot/gentoo", "boot/gentoo.igz", InitramfsKind.DRACUT, True, (), True)
    settings = IsoSettings(loader=Loader.SYSTEMD_BOOT)
    for name in ("loader", "media"):
        (work / name).mkdir()
    with (work / "log").open("w", encoding="utf-8") as log:
        payload = Payload("amd64", (kernel,), sha512={"boot/gentoo": "0" * 128, "boot/gentoo.igz": "0" * 128})
        # the stages that make these files have computed their digests already
        medium = MediumParts(payload, parts, parts / "image.squashfs", "0" * 128)
        menu = boot_menu(settings, medium, "T", "LIVE")
        contents = iso_contents(settings, menu, medium, work / "loader", EPOCH)
        with DigestedFile(work / "out.iso") as image:
            make_iso(contents, image.write, work / "media", EPOCH, log)


def _by_hand(parts: Path, work: Path) -> None:
    subprocess.run(["sh", "-ec", _BY_HAND, "sh", parts, work], check=True, capture_output=True)


def _once(work: Path, function: Callable[[Path, Path], None], parts: Path) -> tuple[float, float]:
    """Return the cost of a call in a fresh folder, which is removed afterwards."""
    work.mkdir()
    seconds = timed(function, parts, work)
    shutil.rmtree(work)
    return seconds
