"""``stagewright media check``."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from stagewright.arch import Arch
from stagewright.cli.boot_machine import SERIAL, Wanted
from stagewright.errors import Exit
from stagewright.media.direct import direct_boot_of
from stagewright.media.inspect import SHARED, InspectedMedium, inspect
from stagewright.media.inspect_disk import inspect_disk, is_disk
from stagewright.media.payload import IMAGE, INITRAMFS
from stagewright.netboot.memory import Sizes, least_memory
from stagewright.netboot.methods import Method
from stagewright.temporary import temporary_folder
from stagewright.ui.text import shown, size
from stagewright.vm.libvirt import Domain, virt_install
from stagewright.vm.machine_spec import MachineSpec, architecture_of


@click.command(name="check")
@click.argument("media", metavar="ISO|DISK|DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON; `problems` lists the errors.")
def command(media: tuple[Path, ...], as_json: bool) -> int:
    """Show what a medium contains, where it boots, and its errors.

    This reads an ISO image, a disk image (raw, qcow2, VMDK, VHD or VDI) or a folder for
    network boot. It shows boot images, partitions, boot loaders, and every entry of
    every boot menu with its kernel arguments and their known problems; unified kernel
    images are entries, too. For an ISO it shows how virt-install starts it.
    It compares files with the lists of digests on
    the medium and next to it. Nothing is mounted. If several media are given, it shows
    which of kernel, initramfs and squashfs are the same.

    The exit code is 1 if there are problems, and 2 if a file is not a medium.
    """
    found = [_look(path) for path in media]
    same = _same(found)
    if as_json:
        print(json.dumps({"media": [_data(medium) for medium in found], "same": same}, indent=2))
    else:
        for medium in found:
            print("\n".join(_report(medium)))
        if len(found) > 1:
            print("\n".join(f"{name}: {'the same on all' if equal else 'DIFFERENT'}" for name, equal in same.items()))
    wrong = any(medium.problems for medium in found) or not all(same.values())
    return Exit.FAILED if wrong else Exit.OK


def _look(path: Path) -> InspectedMedium:
    with temporary_folder("media", Path("/var/tmp")) as work:
        return inspect_disk(path, work) if is_disk(path) else inspect(path, work)


def _same(media: Sequence[InspectedMedium]) -> dict[str, bool]:
    """Return for each shared file True if all media have it with the same content."""
    if len(media) < 2:
        return {}
    return {name: len({medium.shared.get(name) for medium in media}) == 1 for name in SHARED}


def _data(medium: InspectedMedium) -> dict[str, Any]:
    facts = {"path": str(medium.path), "problems": medium.problems, "memory": _memory(medium)}
    return {**dataclasses.asdict(medium), **facts, "virt_install": _virt_install(medium)}


def _memory(medium: InspectedMedium) -> dict[str, int]:
    """Return the least memory in MiB, with the image on the medium, and copied to memory; empty if it is unknown."""
    if not medium.unpacked or IMAGE not in medium.files:
        return {}
    sizes = Sizes(medium.files[IMAGE], medium.files[INITRAMFS], medium.unpacked)
    # as when the image is read from a server while the system runs, and as when it is fetched from one
    return {"medium": least_memory(Method.STREAM, sizes), "copied": least_memory(Method.HTTP, sizes)}


def _virt_install(medium: InspectedMedium) -> str:
    """Return the command of virt-install(1) that starts an ISO with a login on the serial console, or ""."""
    found = direct_boot_of(medium, Path()) if medium.kind == "iso" else None
    arches = [Arch(name) for way in medium.ways for name in way.arches if name in _MACHINES]
    if not found or not medium.ways:
        return ""
    spec = MachineSpec(
        firmware="uefi" if any(way.firmware == "uefi" for way in medium.ways) else "bios",
        architecture=architecture_of(arches[0] if arches else Arch.AMD64),
        network="user",
        cdrom=medium.path.absolute(),
    )
    words = found.on_serial(SERIAL[spec.architecture])
    spec = dataclasses.replace(spec, kernel=found.copies[0], initrd=found.copies[1], append=words)
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", medium.path.stem)
    kernel = (found.kernel, found.initramfs)
    accelerated = os.access("/dev/kvm", os.R_OK | os.W_OK)
    return virt_install(Domain(name, spec, accelerated, Wanted.os_variant, medium_kernel=kernel))


_MACHINES = ("amd64", "x86", "arm64")


def _report(medium: InspectedMedium) -> Iterator[str]:
    yield from _contents(medium)
    for way in medium.ways:
        arches = f" of {', '.join(way.arches)}" if way.arches else ""
        yield f"  boots: {way.firmware.upper()}{arches} from {way.attach.upper()}, by {way.by}"
    yield f"  loaders: {', '.join(medium.loaders) or 'none'}"
    if needs := _memory(medium):
        yield f"  least memory: {needs['medium']} MiB; {needs['copied']} MiB if the image is copied to memory"
    for entry in medium.entries:
        yield f"  {entry.file}: {entry.title}"
        yield f"    {entry.kernel} {entry.arguments}"
    for check in medium.checks:
        yield f"  {check.against}: {check.files - len(check.wrong)} of {check.files} files are as it says"
    if line := _virt_install(medium):
        yield f"  virt-install starts it: {line}"
    problems = medium.problems
    yield from (f"  WRONG: {problem}" for problem in problems)
    if not problems:
        yield "  nothing wrong"


def _contents(medium: InspectedMedium) -> Iterator[str]:
    volume = f", volume id {medium.volume_id!r}" if medium.volume_id else ""
    yield f"{medium.path}: {medium.kind}, {size(medium.size)}{volume}"
    if medium.kind == "disk":
        yield f"  files: {len(medium.esp)} on the boot partitions"
    else:
        yield f"  files: {len(medium.files)}, and {len(medium.esp)} on the EFI system partition"
    for one in medium.partitions:
        label = f" {shown(one.label)!r}" if one.label else ""
        yield f"  partition {one.number}: {one.type}{label}, {size(one.size)}, {one.uuid}"
    for name in SHARED:
        if name in medium.files:
            image = f", {medium.squashfs}" if name == SHARED[-1] else ""
            yield f"    {name}: {size(medium.files[name])}{image}"
