"""What UEFI calls things on each architecture (UEFI specification 3.5.1.1), and what its loaders are called there."""

from __future__ import annotations

from dataclasses import dataclass

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError


@dataclass(frozen=True)
class EfiArch:
    """An architecture to UEFI: its short name, GRUB's name of the platform, Debian's of the package, and the bits."""

    short: str
    grub: str
    debian: str
    bits: int = 64

    @classmethod
    def of(cls, arch: Arch) -> EfiArch:
        """What UEFI calls an architecture. Raises ``ENVIRONMENT_LACKS`` where there is no UEFI to start from."""
        if arch not in _ARCHES:
            known = ", ".join(_ARCHES)
            message = f"live media for {arch} are not there yet; they are for {known}"
            raise StagewrightError(Reason.ENVIRONMENT_LACKS, message, hint="take a root of one of these architectures")
        return _ARCHES[arch]

    @property
    def is_arm(self) -> bool:
        """Whether it is Arm's: there is no BIOS, and what runs on PCs alone is not there."""
        return self.short == "aa64"

    @classmethod
    def starts(cls, program: str) -> Arch | None:
        """The architecture whose firmware starts a program by its path, or None for one that none starts by itself."""
        name = program.upper().rpartition("EFI/BOOT/")[2]
        return next((arch for arch, efi in _ARCHES.items() if efi.program == name), None)

    @property
    def program(self) -> str:
        """The name that firmware starts from removable media, in EFI/BOOT."""
        return f"BOOT{self.short.upper()}.EFI"


_ARCHES = {
    Arch.AMD64: EfiArch("x64", "x86_64-efi", "amd64"),
    Arch.ARM64: EfiArch("aa64", "arm64-efi", "arm64"),
    Arch.X86: EfiArch("ia32", "i386-efi", "ia32", 32),
}
