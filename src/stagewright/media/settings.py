"""Settings of media, as project files have them: the kinds of media take their fields from these models.

========================  =========================================================
:class:`MenuSettings`     ISO images, network sets, disk images: the boot menu
:class:`LiveSettings`     ISO images and network sets: kernel and arguments of a live system
:class:`IsoSettings`      ISO images
========================  =========================================================

What one build adds to the settings (title, volume id, entries) is :class:`stagewright.media.loaders.BootMenu`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.kernel.choose import KernelName
from stagewright.media.arguments import BootMode, Console, KernelArguments, is_serial
from stagewright.media.loaders import Loader
from stagewright.project.amounts import SECONDS
from stagewright.project.fields import ByValue, FileStem, Matching, ProjectFile, Section
from stagewright.root.budget import Size
from stagewright.units import parse_size

VolumeId = Annotated[
    str,
    Matching(
        r"(?=.{1,32}$)[A-Za-z0-9_.-]+(?: +[A-Za-z0-9_.-]+)*",
        "at most 32 letters, digits and _ . - with spaces in between, such as Gentoo amd64 20261120T000000Z",
    ),
]
"""A volume id (ISO 9660, 8.4.7), by which the kernel finds the medium. libosinfo knows Gentoo's ids, with spaces."""

VolumeText = Annotated[str, Matching(r"[!-~](?:[ -~]{0,126}[!-~])?", "at most 128 ASCII characters")]
"""A text of a volume descriptor (ISO 9660, 8.4)."""

Title = Annotated[str, Matching(r"[^\x00-\x1f\"\\$`]{1,100}", 'one line of at most 100 characters without " \\ $ `')]
"""A title in boot menus. Boot loaders read it from files with their own syntax."""


class MenuSettings(Section):
    """Settings of a boot menu."""

    title: Title | None = None
    """The title in boot menus; default: the project's name and version."""
    timeout: Annotated[int, Field(ge=0, le=3600), SECONDS] = 3
    """How long boot menus wait: a number of seconds, or a text such as `"10s"`."""

    def title_for(self, name: str, version: str) -> str:
        """Return the title of the medium of a project with this name and version."""
        return self.title or f"{name} {version}"


class LiveSettings(MenuSettings):
    """Settings of media that boot a live system."""

    kernel: KernelName | None = Field(default=None, exclude_if=lambda name: name is None)
    """The kernel, among the payload's `kernels`, that boots by default or is the only one; default: the first."""
    kernel_arguments: KernelArguments = KernelArguments()
    """The kernel's command line."""


class IsoSettings(LiveSettings):
    """Settings of an ISO image."""

    name: FileStem | None = Field(default=None, exclude_if=lambda name: name is None)
    """The name of the file without `.iso`; default: the names of project and stage, architecture and version."""
    volume_id: VolumeId | None = None
    """The volume id, by which the kernel finds the medium; default: the project's name in capitals."""
    publisher: VolumeText | None = Field(default=None, exclude_if=lambda text: text is None)
    """The publisher in the volume descriptor; default: the project's name."""
    application: VolumeText | None = Field(default=None, exclude_if=lambda text: text is None)
    """The application in the volume descriptor, which names the content; default: the project's name and version."""
    loader: Annotated[Loader, ByValue()] = Loader.SYSTEMD_BOOT
    """The boot loader; default: the payload's, if it has one. `grub-hybrid` boots with UEFI and BIOS, `isolinux` with
    BIOS only, `uki` is one EFI file."""
    entries: list[Annotated[BootMode, ByValue()]] = []
    """More entries in the boot menu: copy to memory, check the medium first, keep changes, speak (`dospeakup`)."""
    consoles: list[Console] = []
    """One more entry in the boot menu for each of these consoles, with that console as the last one."""
    memtest: bool = False
    """Add memtest86+ of the payload to the boot menu."""
    theme: Annotated[str, ProjectFile()] | None = None
    """A theme for GRUB's menu: a folder with `theme.txt`, pictures and fonts (*.pf2), or a tarball with that folder."""
    checksums: bool = True
    """Write `sha512sums` on the medium, for `sha512sum --check` there and `stagewright media check`."""
    esp: Size | None = None
    """The size of the EFI system partition, such as 128M; default: as small as possible."""

    @model_validator(mode="after")
    def _loader_supports_settings(self) -> IsoSettings:
        more = [name for name in ("entries", "consoles", "memtest") if getattr(self, name)]
        if more and not self.loader.has_menu:
            facts = {"name": more[0], "hint": "remove it; `kernel_arguments` sets the one command line of the image"}
            raise PydanticCustomError("loader", '`{name}`: loader = "uki" has no boot menu', facts)
        if self.theme and not self.loader.is_grub:
            facts = {"loader": self.loader.value, "hint": "set loader to grub or grub-hybrid"}
            raise PydanticCustomError("loader", "`theme`: {loader} does not support themes", facts)
        if self.esp and not self.loader.is_efi:
            facts = {"loader": self.loader.value, "hint": "remove it"}
            raise PydanticCustomError(
                "loader", "`esp`: {loader} boots with BIOS, which uses no EFI system partition", facts
            )
        return self

    @property
    def verifies(self) -> bool:
        """True if a menu entry lets the initramfs check the medium."""
        return self.kernel_arguments.verify or BootMode.VERIFY in self.entries

    @property
    def serial(self) -> bool:
        """True if any entry uses a serial port."""
        return self.kernel_arguments.serial or any(map(is_serial, self.consoles))

    @property
    def esp_size(self) -> int:
        """The size of the EFI system partition in bytes; 0 if it is as small as possible."""
        return parse_size(self.esp) if self.esp else 0
