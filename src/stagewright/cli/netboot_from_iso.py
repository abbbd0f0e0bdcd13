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
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The folder to create.")
@click.option(
    "--base-url",
    default="",
    metavar="URL",
    help="The future address of the folder, for GRUB and PXELINUX.",
)
@click.option("--combined/--no-combined", default=True, help="Also write initramfs and image as one file (default).")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(iso: Path, output: Path, base_url: str, combined: bool, as_json: bool) -> int:
    """Make a set for network boot from an ISO.

    The ISO can be any one with a squashfs, also of other distributions. Kernel,
    initramfs and image are copied unchanged. The kernel arguments are those of the boot
    menu of the ISO. Boot methods that the set does not support are listed.

    \b
      stagewright netboot from-iso install-amd64-minimal.iso -o set
      stagewright netboot serve set
    """
    found = from_iso(iso, output, base_url=base_url, combined=combined)
    if as_json:
        facts = {"by": str(found.by), "entry": asdict(found.entry), "parts": dict(found.parts)}
        print(
            json.dumps({"output": str(output), **facts, **found.report.to_dict(), "notes": list(found.notes)}, indent=2)
        )
        return 0
    print(f"{output}: like {found.entry.title!r} in {found.entry.file}, with an initramfs of {found.by}")
    for role, path in found.parts.items():
        print(f"  {role:<10} {path}")
    for method, memory in found.report.memory.items():
        print(f"  {method:<10} {method.description}: at least {memory} MiB of memory")
    for line in (*found.notes, *found.report.limits):
        print(f"  note: {line}")
    print(f"  {size(sum(found.report.files.values()))} in all; to try it: stagewright netboot serve {output}")
    return 0
