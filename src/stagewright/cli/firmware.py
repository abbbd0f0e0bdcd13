"""``stagewright firmware``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from stagewright.errors import Exit, Reason, StagewrightError
from stagewright.ui.firmware import (
    choice_data,
    choice_lines,
    entry_data,
    entry_lines,
    fix_data,
    fix_lines,
    nvram_lines,
)
from stagewright.ui.streams import note
from stagewright.ui.text import plural, printable
from stagewright.vm.firmware_choice import choices, nvram_pairs
from stagewright.vm.firmware_fix import Fix, fixes, write_fix
from stagewright.vm.firmware_known import installed
from stagewright.vm.firmware_survey import SYSTEM_DIRECTORIES, Entry, State, directories, survey


@click.command(name="firmware")
@click.option("--fix", is_flag=True, help="Show corrected descriptors, ask, and write them.")
@click.option("-y", "--yes", is_flag=True, help="Write the corrections of --fix without asking.")
@click.option(
    "--folder",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder of descriptors, instead of those of this computer. Can be repeated; the last one overrides.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(*, fix: bool, yes: bool, folders: tuple[Path, ...], as_json: bool) -> int:
    """Show the firmware for virtual machines; correct descriptors.

    A descriptor is a JSON file for QEMU's front ends, such as libvirt: where a firmware
    is, for which machines, and with which features. Those in
    /etc/qemu/firmware override those of the same name in /usr/share/qemu/firmware, and
    those in $XDG_CONFIG_HOME/qemu/firmware override both. An empty file disables a
    descriptor. QEMU itself reads none: without options a PC starts SeaBIOS.

    \b
    Shown are
      each descriptor: usable, masked by another one, or broken, and why;
      which one libvirt and Stagewright choose, by machine type and feature;
      the setting "nvram" for libvirt's qemu.conf, from what is installed.

    libvirt does not check the files that a descriptor names: it may choose one whose
    machine cannot start. It finds no firmware at all if it cannot read one of the
    descriptors. A correction has the same file name, in /etc/qemu/firmware if root runs
    the command, otherwise in the folder of the user. The exit code is 3 if a descriptor
    is broken.

    \b
      stagewright firmware
      stagewright firmware --fix          show corrections, ask, write
      stagewright firmware --fix --yes    write without asking
      stagewright firmware --json
    """
    if yes and not fix:
        raise StagewrightError(Reason.USAGE, "--yes needs --fix", hint="stagewright firmware --fix --yes")
    searched = tuple(folder.absolute() for folder in folders) or directories()
    entries, proposed = _look(searched)
    if as_json:
        return _json(searched, entries, proposed, write=fix and yes)
    _show(searched, entries)
    if not fix:
        if proposed:
            print(f"\nto correct {plural(len(proposed), 'descriptor')}: stagewright firmware --fix")
        return int(Exit.HOST if proposed else Exit.OK)
    return _fix(proposed, yes=yes)


def _look(folders: Sequence[Path]) -> tuple[list[Entry], list[Fix]]:
    """Return the files in all folders, and the corrections."""
    entries = survey(folders)
    root = os.geteuid() == 0 and SYSTEM_DIRECTORIES[-1] in folders
    target = SYSTEM_DIRECTORIES[-1] if root else folders[-1]
    return entries, fixes(entries, folders, target, installed())


def _show(folders: Sequence[Path], entries: Sequence[Entry]) -> None:
    print("Descriptors in the order in which programs read them:\n")
    lines = [line for entry in entries for line in entry_lines(entry)]
    print(printable("\n".join(lines)) if lines else f"none in {', '.join(map(str, folders))}")
    system = _system(folders, entries)
    print("\nThe choice by machine type and feature:\n")
    print(printable("\n".join(choice_lines(choices(system, entries)))))
    settings = _nvram(folders, entries)
    for pairs in dict.fromkeys(map(tuple, settings.values())):
        files = " and ".join(str(file) for file, value in settings.items() if tuple(value) == pairs)
        print(f"\nFor {files}:\n")
        print(printable("\n".join(nvram_lines(pairs))))


def _system(folders: Sequence[Path], entries: Sequence[Entry]) -> Sequence[Entry]:
    """Return the files that libvirt reads for system machines."""
    if folders[:-1] != SYSTEM_DIRECTORIES:
        return entries
    return survey(folders[:-1])


def _nvram(folders: Sequence[Path], entries: Sequence[Entry]) -> dict[Path, list[str]]:
    """Return the pairs for the qemu.conf of libvirt for the system, and for the user."""
    found = installed()
    user = directories()[-1].parents[1] / "libvirt" / "qemu.conf"
    system = nvram_pairs(_system(folders, entries), found)
    return {Path("/etc/libvirt/qemu.conf"): system, user: nvram_pairs(entries, found)}


def _fix(proposed: Sequence[Fix], *, yes: bool) -> int:
    """Show the corrections, and write them with ``yes`` or after a confirmation on the terminal."""
    if not proposed:
        print("\nnothing to correct")
        return int(Exit.OK)
    print("\nCorrections:\n")
    print(printable("\n".join(line for one in proposed for line in fix_lines(one, full=True))))
    writable = [one for one in proposed if one.path]
    question = f"\nwrite {plural(len(writable), 'file')}?"
    if writable and not yes and not (sys.stdin.isatty() and click.confirm(question, err=True)):
        note("nothing was written; to write: stagewright firmware --fix --yes")
        return int(Exit.HOST)
    return _write(writable, len(proposed))


def _write(writable: Sequence[Fix], count: int) -> int:
    for one in writable:
        write_fix(one)
        print(f"wrote {one.path}")
    return int(Exit.OK if len(writable) == count else Exit.HOST)


def _json(folders: Sequence[Path], entries: Sequence[Entry], proposed: Sequence[Fix], *, write: bool) -> int:
    data = {
        "folders": [str(folder) for folder in folders],
        "descriptors": [entry_data(entry) for entry in entries],
        "choices": [choice_data(choice) for choice in choices(_system(folders, entries), entries)],
        "nvram": {str(file): pairs for file, pairs in _nvram(folders, entries).items()},
        "fixes": [fix_data(one) for one in proposed],
        "written": [],
    }
    if write:
        writable = [one for one in proposed if one.path]
        for one in writable:
            write_fix(one)
        data["written"] = [str(one.path) for one in writable]
    print(json.dumps(data, indent=2))
    broken = any(entry.state is State.BROKEN for entry in entries)
    done = write and all(one.path for one in proposed)
    return int(Exit.HOST if broken and not done else Exit.OK)
