"""Find UEFI firmware for QEMU by firmware descriptors.

A descriptor is a JSON file with the features of a firmware image and the machines that it supports. A descriptor
overrides those of the same name in more general folders, and an empty file disables them. The first match in the order
of file names is used (docs/interop/firmware.json in QEMU's sources). Distributions number their descriptors so that
those that enforce Secure Boot are first. So this module filters by features.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import pydantic

from stagewright import run
from stagewright.errors import Reason, StagewrightError

SYSTEM_DIRECTORIES = (Path("/usr/share/qemu/firmware"), Path("/etc/qemu/firmware"))
"""Folders of descriptors from distributions and administrators, the most general first."""

ON_REQUEST = frozenset({"requires-smm", "enrolled-keys", "secure-boot"})
"""Features that restrict guests. Firmware with one of them is only used on request."""

KNOWN_PATHS: Mapping[str, Sequence[tuple[str, str]]] = {
    "x86_64": (
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),  # Debian, Ubuntu
        ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
        ("/usr/share/edk2/OvmfX64/OVMF_CODE.fd", "/usr/share/edk2/OvmfX64/OVMF_VARS.fd"),  # Gentoo
        ("/usr/share/edk2-ovmf/OVMF_CODE.fd", "/usr/share/edk2-ovmf/OVMF_VARS.fd"),  # Gentoo before 2024
        ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),  # Arch
        ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),  # Fedora
        ("/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"),  # QEMU's own
    ),
    "aarch64": (
        ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),  # Debian, Ubuntu
        ("/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"),  # Fedora
        ("/usr/share/qemu/edk2-aarch64-code.fd", "/usr/share/qemu/edk2-arm-vars.fd"),  # QEMU's own
    ),
}
"""Pairs of code and variables of images without Secure Boot by architecture, used if no descriptor matches."""

HINTS = {
    "x86_64": "install OVMF: package ovmf on Debian and Ubuntu, sys-firmware/edk2-bin on Gentoo",
    "aarch64": "install EDK2: package qemu-efi-aarch64 on Debian and Ubuntu, sys-firmware/edk2-bin on Gentoo",
}


@dataclass(frozen=True)
class Firmware:
    """A UEFI image: its code, mapped read-only, and the template of its variables, which each machine copies."""

    code: Path
    variables: Path
    code_format: str = "raw"
    variables_format: str = "raw"
    features: frozenset[str] = frozenset()
    descriptor: Path | None = None


class _File(pydantic.BaseModel):
    filename: Path
    format: str = "raw"


class _Mapping(pydantic.BaseModel):
    device: str
    mode: Literal["split", "combined", "stateless"] = "split"
    executable: _File | None = None
    template: _File | None = pydantic.Field(default=None, alias="nvram-template")


class _Target(pydantic.BaseModel):
    architecture: str
    machines: list[str]


class _Descriptor(pydantic.BaseModel):
    """The used part of a descriptor. The schema is ``Firmware`` in QEMU's docs/interop/firmware.json."""

    interfaces: list[str] = pydantic.Field(alias="interface-types")
    mapping: _Mapping
    targets: list[_Target]
    features: frozenset[str] = frozenset()


def directories(environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Return the folders of descriptors, the most general first. The last one is the user's, under XDG_CONFIG_HOME."""
    home = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "/root")) / ".config")
    return (*SYSTEM_DIRECTORIES, Path(home) / "qemu" / "firmware")


def machine_type(alias: str, qemu: str = "qemu-system-x86_64") -> str:
    """Return the versioned machine of an alias: ``q35`` is ``pc-q35-7.2`` in QEMU 7.2. Descriptors use this name."""
    for line in run.run([qemu, "-machine", "help"], timeout=30).stdout.splitlines():
        name, _, description = line.partition(" ")
        if name == alias and "(alias of " in description:
            return description.rpartition("(alias of ")[2].split(")")[0]
    return alias


def find(
    machine: str,
    *,
    architecture: str = "x86_64",
    want: Collection[str] = (),
    folders: Sequence[Path] | None = None,
    known: Iterable[tuple[str, str]] | None = None,
) -> Firmware:
    """Return the first firmware that matches a machine type (see :func:`machine_type`) and has all wanted features.

    ``secure-boot`` also accepts ``requires-smm``, because most images have both. Raises ``NO_FIRMWARE`` with the list
    of all candidates and the reasons why they do not match.
    """
    folders = directories() if folders is None else folders
    tried: list[str] = []
    for path in descriptors(folders):
        answer = _examine(path, machine, architecture, frozenset(want))
        if isinstance(answer, Firmware):
            return answer
        tried.append(f"{path}: {answer}")
    if not want:
        for code, variables in KNOWN_PATHS.get(architecture, ()) if known is None else known:
            missing = [name for name in (code, variables) if not Path(name).is_file()]
            if not missing:
                return Firmware(Path(code), Path(variables))
            tried.append(f"{missing[0]}: not found")
    asked = f" with {', '.join(sorted(want))}" if want else ""
    where = f"searched for descriptors in {', '.join(map(str, folders))}"
    raise StagewrightError(
        Reason.NO_FIRMWARE,
        f"UEFI firmware{asked} for {architecture} machine {machine} not found",
        hint=HINTS[architecture],
        detail="\n".join(f"  {line}" for line in (where, *tried)),
    )


def descriptors(folders: Sequence[Path]) -> list[Path]:
    """Return the effective descriptors, sorted by name: later folders override earlier ones, empty files disable."""
    found: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            found.update((path.name, path) for path in folder.glob("*.json") if path.is_file())
    return [found[name] for name in sorted(found) if found[name].stat().st_size]


def _examine(path: Path, machine: str, architecture: str, want: frozenset[str]) -> Firmware | str:
    """Return the firmware of a descriptor, or the reason why it does not match."""
    try:
        descriptor = _Descriptor.model_validate_json(path.read_bytes())
    except (pydantic.ValidationError, OSError) as error:
        return f"not a firmware descriptor: {str(error).splitlines()[0]}"
    why = _unfit(descriptor, machine, architecture, want)
    if why:
        return why
    code, template = descriptor.mapping.executable, descriptor.mapping.template
    if code is None or template is None:
        return "the file of the code or of the variables is missing in it"
    for file in (code.filename, template.filename):
        if not file.is_file():
            return f"its file {file} does not exist"
    return Firmware(code.filename, template.filename, code.format, template.format, descriptor.features, path)


def _unfit(descriptor: _Descriptor, machine: str, architecture: str, want: frozenset[str]) -> str:
    if "uefi" not in descriptor.interfaces:
        return "is not UEFI"
    if descriptor.mapping.device != "flash":
        return f"is not mapped as flash (found {descriptor.mapping.device})"
    if descriptor.mapping.mode != "split":
        return f"code and variables are not in separate files (found mode {descriptor.mapping.mode})"
    if not any(
        target.architecture == architecture and any(fnmatchcase(machine, pattern) for pattern in target.machines)
        for target in descriptor.targets
    ):
        return f"is not for {architecture} {machine}"
    accepted = want | {"requires-smm"} if "secure-boot" in want else want
    unasked = sorted((descriptor.features & ON_REQUEST) - accepted)
    if unasked:
        return f"has features that were not requested: {', '.join(unasked)}"
    lacking = sorted(want - descriptor.features)
    return f"lacks features: {', '.join(lacking)}" if lacking else ""
