"""Kernel arguments of live systems: one definition, from which the files of every boot loader are made.

The words depend on the initramfs that reads them, so :class:`InitramfsKind` writes them. There is always a `root=`.
Without it the kernel limits the unpacked initramfs to half of the memory and truncates files silently (measured).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Annotated

from pydantic import field_validator
from pydantic_core import PydanticCustomError

from stagewright.media.verity import arguments as arguments_of
from stagewright.project.fields import Matching, Section

Console = Annotated[str, Matching(r"[^\s\"]+", "a console such as tty0 or ttyS0,115200")]
"""A console of the kernel with its options, as in `console=`."""

Label = Annotated[str, Matching(r"[A-Za-z0-9_.-]{1,16}", "a label of 1 to 16 letters, digits, _ . or -")]
"""The label of a file system. ext4 allows 16 characters."""

_RESERVED = {
    "root": "Stagewright writes it for the medium and the initramfs",
    "initrd": "boot loaders write it",
    "setkmap": "neither dracut nor genkernel reads it; set `keymap`",
}


def _size_argument(size: int) -> str:
    """Return the argument with the size of an image, for the comparison of the memory (folder ``memory``)."""
    return f"rd.stagewright.size={-(-size >> 20)}"


def is_serial(console: str) -> bool:
    """Return True if a console is a serial port."""
    return console.startswith(("ttyS", "ttyAMA"))


Argument = Annotated[str, Matching(r"[^\s\"]+(?:\"[^\"\n]*\")?", 'each argument as one text: ["quiet", "loglevel=3"]')]
"""One argument of the kernel's command line."""


class SystemArguments(Section):
    """Kernel arguments that every system takes, whatever its initramfs."""

    console: list[Console] = ["tty0"]
    """The kernel's consoles, such as `ttyS0,115200`; the last one becomes /dev/console."""
    quiet: bool = False
    """Print fewer kernel messages."""
    extra: list[Argument] = []
    """More arguments, written as they are."""

    @property
    def words(self) -> list[str]:
        """These arguments as words of a command line."""
        return [*(f"console={console}" for console in self.console), *(["quiet"] if self.quiet else []), *self.extra]

    @property
    def serial(self) -> bool:
        """True if one of the consoles is a serial port."""
        return any(map(is_serial, self.console))


class KernelArguments(SystemArguments):
    """Kernel arguments of a live system."""

    keymap: Annotated[str, Matching(r"[A-Za-z0-9_.-]+", "the name of a keymap, such as uk")] | None = None
    """The keyboard layout, such as `uk`."""
    ram: bool = False
    """Copy the image to memory at boot, so that the medium can be removed."""
    overlay: bool = True
    """Put a writable layer in memory over the image."""
    verify: bool = False
    """Let the initramfs check the medium before it boots."""
    persistence: Label | None = None
    """The label of a file system that keeps changes, in its folders `overlay` and `ovlwork` (dracut only)."""

    @field_validator("extra")
    @classmethod
    def _not_reserved(cls, extra: Sequence[str]) -> Sequence[str]:
        for word in extra:
            name, equals, _ = word.partition("=")
            if equals and name in _RESERVED:
                facts = {"name": name, "hint": _RESERVED[name]}
                raise PydanticCustomError("argument", "`{name}=` cannot be set here", facts)
        return extra

    def with_main_console(self, console: str) -> KernelArguments:
        """Return the same arguments with this console as the last one, which becomes /dev/console."""
        device = console.partition(",")[0]
        others = [name for name in self.console if name.partition(",")[0] != device]
        return self.model_copy(update={"console": [*others, console]})

    def for_network(self) -> KernelArguments:
        """Return the same arguments without those that only make sense for a disc or stick."""
        return self.model_copy(update={"verify": False, "ram": False})


class BootMode(enum.StrEnum):
    """A further way to boot the same system, with a separate entry in boot menus."""

    RAM = "ram"
    VERIFY = "verify"
    PERSISTENCE = "persistence"
    SPEECH = "speech"

    @property
    def description(self) -> str:
        """The words after the title in a boot menu."""
        return {
            "ram": "copy to memory",
            "verify": "check the medium first",
            "persistence": "keep changes",
            "speech": "accessibility, with speech",
        }[self.value]

    def of(self, arguments: KernelArguments) -> KernelArguments:
        """Return the arguments for this mode."""
        if self is BootMode.SPEECH:
            return arguments.model_copy(update={"extra": [*arguments.extra, SPEECH]})
        value: object = (arguments.persistence or PERSISTENT) if self is BootMode.PERSISTENCE else True
        return arguments.model_copy(update={self.value: value})


SPEECH = "dospeakup"
"""The argument that lets livecd-tools start espeakup, a screen reader."""

PERSISTENT = "LIVEDATA"
"""The label that the menu entry for persistence uses if the project sets none."""


def udev_name(label: str) -> str:
    """Return a label as udev writes it in /dev/disk/by-label, which dracut also accepts: without spaces."""
    return label.replace(" ", r"\x20")


RENAMED = 110
"""The first version of dracut with `rd.overlay`; it warns about the names before (dracut.cmdline(7))."""


class InitramfsKind(enum.StrEnum):
    """The program that made an initramfs, which decides the arguments that it understands."""

    DRACUT = "dracut"
    GENKERNEL = "genkernel"

    def for_medium(self, arguments: KernelArguments, volume_id: str, image: str, version: int = 0) -> str:
        """Return the command line for a disc or stick with this volume id. ``version`` is that of dracut, if known.

        Sources: dracut.cmdline(7) and dmsquash-live; defaults/initrd.scripts of genkernel, which searches all disks for
        the image.
        """
        if self is InitramfsKind.DRACUT:
            root = [f"root=live:CDLABEL={udev_name(volume_id)}", "rd.live.dir=/", f"rd.live.squashimg={image}"]
        else:
            root = ["root=/dev/ram0", "cdroot", "looptype=squashfs", f"loop=/{image}"]
        return " ".join([*root, *self._options(arguments, version), *arguments.words])

    def for_network(self, arguments: KernelArguments, version: int = 0) -> list[str]:
        """Return the arguments that do not depend on the image's address, without the keymap."""
        fitting = arguments.for_network().model_copy(update={"keymap": None})
        return [*self._options(fitting, version), *fitting.words]

    def about_image(self, verity: str, size: int) -> list[str]:
        """Return the arguments that describe an image, which the initramfs compares with it and with the memory.

        ``verity`` is its `BLOCKS:HASH`, or "" if it is not verified; ``size`` is in bytes, or 0 if it is unknown.
        """
        if verity:
            return arguments_of(verity)
        return [_size_argument(size)] if size and self is InitramfsKind.DRACUT else []

    def _options(self, arguments: KernelArguments, version: int) -> list[str]:
        """Return the arguments whose names differ between dracut, its versions, and genkernel."""
        if self is InitramfsKind.DRACUT:
            found = [
                *_overlay_of_dracut(arguments, version),
                (arguments.ram, "rd.live.ram=1"),
                (arguments.verify, "rd.live.check=1"),
                (arguments.keymap, f"rd.vconsole.keymap={arguments.keymap} vconsole.keymap={arguments.keymap}"),
            ]
        else:
            found = [
                (arguments.overlay, "overlayfs"),
                (arguments.ram, "docache"),
                (arguments.verify, "verify"),
                (arguments.keymap, f"keymap={arguments.keymap}"),
            ]
        return [word for wanted, word in found if wanted]


def _overlay_of_dracut(arguments: KernelArguments, version: int) -> list[tuple[object, str]]:
    """Return arguments for the writable layer, each with a condition."""
    place = f"LABEL={arguments.persistence}:/overlay"
    if version < RENAMED:
        return [
            (arguments.overlay, "rd.live.overlay.overlayfs=1"),
            (arguments.persistence, f"rd.live.overlay={place}"),
        ]
    if arguments.persistence:
        return [(True, f"rd.overlay={place}")]
    return [(arguments.overlay, "rd.overlay")]
