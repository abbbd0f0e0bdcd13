"""Names of each architecture in UEFI (UEFI specification 3.5.1.1), GRUB and Debian."""

from __future__ import annotations

from stagewright.arch import Arch
from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass


@dataclass(frozen=True)
class EfiArch:
    """Names of an architecture: UEFI's short name, GRUB's platform, Debian's architecture; and its bits."""

    short: str
    grub: str
    debian: str
    bits: int = 64

    @classmethod
    def of(cls, arch: Arch) -> EfiArch:
        """Return the names of an architecture. Raises ``ENVIRONMENT_LACKS`` if media do not support it."""
        if arch not in _ARCHES:
            known = ", ".join(_ARCHES)
            message = f"media for {arch} are not supported (supported: {known})"
            raise StagewrightError(Reason.ENVIRONMENT_LACKS, message, hint="use a root of a supported architecture")
        return _ARCHES[arch]

    @property
    def is_arm(self) -> bool:
        """True for arm64, which has neither BIOS nor programs for PCs."""
        return self.short == "aa64"

    @classmethod
    def starts(cls, program: str) -> Arch | None:
        """Return the architecture whose firmware starts a program at this path, or None if no firmware does."""
        name = program.upper().rpartition("EFI/BOOT/")[2]
        return next((arch for arch, efi in _ARCHES.items() if efi.program == name), None)

    @property
    def program(self) -> str:
        """Name of the program in EFI/BOOT that firmware starts from removable media."""
        return f"BOOT{self.short.upper()}.EFI"

    @property
    def stub(self) -> str:
        """Name of systemd's stub for unified kernel images."""
        return f"linux{self.short}.efi.stub"


_ARCHES = {
    Arch.AMD64: EfiArch("x64", "x86_64-efi", "amd64"),
    Arch.ARM64: EfiArch("aa64", "arm64-efi", "arm64"),
    Arch.X86: EfiArch("ia32", "i386-efi", "ia32", 32),
}
