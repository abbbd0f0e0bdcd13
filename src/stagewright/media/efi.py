"""What UEFI calls things on each architecture (UEFI specification 3.5.1.1), and what its loaders are called there."""

from __future__ import annotations

from dataclasses import dataclass

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError


@dataclass(frozen=True)
class EfiArch:
    """An architecture to UEFI: its short name, and GRUB's name of the platform."""

    short: str
    grub: str

    @classmethod
    def of(cls, arch: Arch) -> EfiArch:
        """What UEFI calls an architecture. Raises ``ENVIRONMENT_LACKS`` where there is no UEFI to start from."""
        if arch not in _ARCHES:
            known = ", ".join(_ARCHES)
            message = f"live media for {arch} are not there yet; they are for {known}"
            raise StagewrightError(Reason.ENVIRONMENT_LACKS, message, hint="take a root of one of these architectures")
        return _ARCHES[arch]

    @property
    def program(self) -> str:
        """The name that firmware starts from removable media, in EFI/BOOT."""
        return f"BOOT{self.short.upper()}.EFI"


_ARCHES = {
    Arch.AMD64: EfiArch("x64", "x86_64-efi"),
    Arch.ARM64: EfiArch("aa64", "arm64-efi"),
    Arch.X86: EfiArch("ia32", "i386-efi"),
}
