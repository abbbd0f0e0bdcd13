"""Kernel arguments of live systems: one definition, from which every loader's file is made (R68).

What stands on the command line depends on the initramfs that reads it, so :class:`InitramfsKind` writes it. There is
always a `root=`: without one the kernel unpacks a large initramfs into half of the memory and cuts it off silently
(measured).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Annotated

from pydantic import field_validator
from pydantic_core import PydanticCustomError

from stagewright.project.fields import Matching, Section

Label = Annotated[str, Matching(r"[A-Za-z0-9_.-]{1,16}", "a label of 1 to 16 letters, digits, _ . or -")]
"""The label of a file system; 16 characters are what ext4 takes."""

_OURS = {
    "root": "Stagewright writes it, as the medium and the initramfs need it",
    "initrd": "boot loaders write it",
    "setkmap": "no initramfs here knows it; set `keymap`",
}


class KernelArguments(Section):
    """What the project says about the command line."""

    console: list[Annotated[str, Matching(r"[^\s\"]+", "a console such as tty0 or ttyS0,115200")]] = ["tty0"]
    """The kernel's consoles, such as `ttyS0,115200`; the last one leads."""
    keymap: Annotated[str, Matching(r"[A-Za-z0-9_.-]+", "the name of a keymap, such as uk")] | None = None
    """The keyboard's layout, such as `uk`."""
    ram: bool = False
    """Copy the image to memory at the start, so that the medium can be taken out."""
    overlay: bool = True
    """A writable layer over the image, in memory."""
    verify: bool = False
    """Have the initramfs check the medium before anything else."""
    persistence: Label | None = None
    """The label of a file system on which changes are kept, in its folders `overlay` and `ovlwork` (dracut only)."""
    quiet: bool = False
    """Let the kernel say little."""
    extra: list[Annotated[str, Matching(r"[^\s\"]+(?:\"[^\"\n]*\")?", "one argument a string")]] = []
    """More arguments, as they are."""

    @field_validator("extra")
    @classmethod
    def _not_ours(cls, extra: Sequence[str]) -> Sequence[str]:
        for word in extra:
            name, equals, _ = word.partition("=")
            if equals and name in _OURS:
                facts = {"name": name, "hint": _OURS[name]}
                raise PydanticCustomError("argument", "`{name}=` cannot be set here", facts)
        return extra

    @property
    def serial(self) -> bool:
        """Whether one of the consoles is a serial line."""
        return any(console.startswith(("ttyS", "ttyAMA")) for console in self.console)

    def leading_to(self, console: str) -> KernelArguments:
        """The same with this console as the one that leads."""
        device = console.partition(",")[0]
        others = [name for name in self.console if name.partition(",")[0] != device]
        return self.model_copy(update={"console": [*others, console]})


class Mode(enum.StrEnum):
    """Further ways to start the same system, each with an entry of its own in boot menus."""

    RAM = "ram"
    VERIFY = "verify"
    PERSISTENCE = "persistence"

    @property
    def words(self) -> str:
        """What a menu says behind the title of the system."""
        return {"ram": "copy to memory", "verify": "check the medium first", "persistence": "keep changes"}[self.value]

    def of(self, arguments: KernelArguments) -> KernelArguments:
        """The arguments for starting in this way."""
        value: object = (arguments.persistence or PERSISTENT) if self is Mode.PERSISTENCE else True
        return arguments.model_copy(update={self.value: value})


PERSISTENT = "LIVEDATA"
"""The label that the entry for persistence looks for when the project names none."""


class InitramfsKind(enum.StrEnum):
    """Who made the initramfs, and so what it understands."""

    DRACUT = "dracut"
    GENKERNEL = "genkernel"

    def for_medium(self, arguments: KernelArguments, volume_id: str, image: str) -> str:
        """The command line for a disc or stick with this volume id.

        By dracut.cmdline(7), dmsquash-live; by genkernel's defaults/initrd.scripts, which looks for the image itself.
        """
        if self is InitramfsKind.DRACUT:
            root = [f"root=live:CDLABEL={volume_id}", "rd.live.dir=/", f"rd.live.squashimg={image}"]
        else:
            root = ["root=/dev/ram0", "cdroot", "looptype=squashfs", f"loop=/{image}"]
        return " ".join([*root, *self._options(arguments), *_common(arguments)])

    def for_network(self, arguments: KernelArguments) -> list[str]:
        """What does not depend on where the image is, but the keymap: no medium is to be checked or copied."""
        fitting = arguments.model_copy(update={"verify": False, "ram": False, "keymap": None})
        return [*self._options(fitting), *_common(fitting)]

    def _options(self, arguments: KernelArguments) -> list[str]:
        """Arguments that have another name for each initramfs. The check skips nothing: it is the medium's own."""
        if self is InitramfsKind.DRACUT:
            found = [
                (arguments.overlay, "rd.live.overlay.overlayfs=1"),
                (arguments.persistence, f"rd.live.overlay=LABEL={arguments.persistence}:/overlay"),
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


def _common(arguments: KernelArguments) -> list[str]:
    words = [f"console={console}" for console in arguments.console]
    return [*words, *(["quiet"] if arguments.quiet else []), *arguments.extra]
