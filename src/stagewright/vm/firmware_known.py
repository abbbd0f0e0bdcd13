"""Firmware at the paths of distributions, for computers whose descriptors do not name it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from stagewright.lazy_dataclass import dataclass
from stagewright.vm.firmware_images import Flash, check_files

SECURE = frozenset({"secure-boot", "requires-smm"})
ENROLLED = SECURE | {"enrolled-keys"}


@dataclass(frozen=True)
class Pair:
    """Code and variables in raw files, with the features that restrict guests."""

    architecture: str
    code: Path
    variables: Path
    features: frozenset[str] = frozenset()

    def works(self) -> bool:
        """Return True if both files exist and fit together."""
        keys = "enrolled-keys" in self.features
        return not check_files(Flash(self.code), Flash(self.variables), frozenset({self.architecture}), keys=keys)


def _pairs(
    architecture: str, folder: str, *names: tuple[str, str], features: frozenset[str] = frozenset()
) -> Iterator[Pair]:
    for code, variables in names:
        yield Pair(architecture, Path(folder, code), Path(folder, variables), features)


KNOWN = (
    *_pairs("x86_64", "/usr/share/OVMF", ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"), ("OVMF_CODE.fd", "OVMF_VARS.fd")),
    *_pairs("x86_64", "/usr/share/edk2/OvmfX64", ("OVMF_CODE.fd", "OVMF_VARS.fd")),  # Gentoo
    *_pairs("x86_64", "/usr/share/edk2-ovmf", ("OVMF_CODE.fd", "OVMF_VARS.fd")),  # Gentoo before 2024
    *_pairs("x86_64", "/usr/share/edk2/x64", ("OVMF_CODE.4m.fd", "OVMF_VARS.4m.fd")),  # Arch
    *_pairs("x86_64", "/usr/share/edk2/ovmf", ("OVMF_CODE.fd", "OVMF_VARS.fd")),  # Fedora
    *_pairs("x86_64", "/usr/share/qemu", ("edk2-x86_64-code.fd", "edk2-i386-vars.fd")),  # QEMU
    *_pairs(
        *("x86_64", "/usr/share/OVMF"),
        *(("OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.fd"), ("OVMF_CODE.secboot.fd", "OVMF_VARS.fd")),
        features=SECURE,
    ),
    *_pairs("x86_64", "/usr/share/edk2/OvmfX64", ("OVMF_CODE.secboot.fd", "OVMF_VARS.fd"), features=SECURE),
    *_pairs("x86_64", "/usr/share/edk2-ovmf", ("OVMF_CODE.secboot.fd", "OVMF_VARS.fd"), features=SECURE),
    *_pairs("x86_64", "/usr/share/edk2/x64", ("OVMF_CODE.secboot.4m.fd", "OVMF_VARS.4m.fd"), features=SECURE),
    *_pairs("x86_64", "/usr/share/edk2/ovmf", ("OVMF_CODE.secboot.fd", "OVMF_VARS.fd"), features=SECURE),
    *_pairs("x86_64", "/usr/share/qemu", ("edk2-x86_64-secure-code.fd", "edk2-i386-vars.fd"), features=SECURE),
    *_pairs(
        *("x86_64", "/usr/share/OVMF"),
        *(("OVMF_CODE_4M.ms.fd", "OVMF_VARS_4M.ms.fd"), ("OVMF_CODE.ms.fd", "OVMF_VARS.ms.fd")),
        features=ENROLLED,
    ),
    *_pairs("x86_64", "/usr/share/edk2/OvmfX64", ("OVMF_CODE.secboot.fd", "OVMF_VARS.secboot.fd"), features=ENROLLED),
    *_pairs("x86_64", "/usr/share/edk2-ovmf", ("OVMF_CODE.secboot.fd", "OVMF_VARS.secboot.fd"), features=ENROLLED),
    *_pairs("x86_64", "/usr/share/edk2/ovmf", ("OVMF_CODE.secboot.fd", "OVMF_VARS.secboot.fd"), features=ENROLLED),
    *_pairs("aarch64", "/usr/share/AAVMF", ("AAVMF_CODE.fd", "AAVMF_VARS.fd")),
    *_pairs("aarch64", "/usr/share/edk2/aarch64", ("QEMU_EFI-pflash.raw", "vars-template-pflash.raw")),  # Fedora
    *_pairs("aarch64", "/usr/share/qemu", ("edk2-aarch64-code.fd", "edk2-arm-vars.fd")),
)
"""Pairs by architecture and features, the ones to prefer first."""


def installed(known: Iterable[Pair] = KNOWN) -> list[Pair]:
    """Return the pairs that exist and fit together."""
    return [pair for pair in known if pair.works()]
