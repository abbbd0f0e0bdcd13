"""``stagewright netboot from-iso``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from stagewright.netboot.from_iso import from_iso
from stagewright.ui.text import size


@click.command(name="from-iso")
@click.argument("iso", type=click.Path(path_type=Path, dir_okay=False))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The folder to make.")
@click.option("--base-url", default="", metavar="URL", help="Where it will be on the web: for GRUB, PXELINUX.")
@click.option("--combined/--no-combined", default=True, help="Also join initramfs and image in one file.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found and written as JSON.")
def command(iso: Path, output: Path, base_url: str, combined: bool, as_json: bool) -> int:
    """Make a set for network boot from an ISO: ours, or another one with a squashfs.

    Kernel, initramfs and image come out bit for bit; the kernel's arguments are
    read from the ISO's own boot menu. What the set cannot do is said.
    """
    found = from_iso(iso, output, base_url=base_url, combined=combined)
    if as_json:
        facts = {"by": str(found.by), "entry": asdict(found.entry), "parts": dict(found.parts)}
        print(
            json.dumps({"output": str(output), **facts, **found.report.to_dict(), "notes": list(found.notes)}, indent=2)
        )
        return 0
    print(f"{output}: as {found.entry.file} starts {found.entry.title!r}, by an initramfs of {found.by}")
    for role, path in found.parts.items():
        print(f"  {role:<10} {path}")
    for method, memory in found.report.memory.items():
        print(f"  {method:<10} {method.description}: {memory} MiB of memory at least")
    for line in (*found.notes, *found.report.limits):
        print(f"  note: {line}")
    print(f"  {size(sum(found.report.files.values()))} in all; to try it: stagewright netboot serve {output}")
    return 0
