"""Kernel arguments of live systems: one definition, from which every loader's file is made (R68)."""

from __future__ import annotations

from stagewright.project.fields import Section


class KernelArguments(Section):
    """What the project says about the command line."""

    console: list[str] = ["tty0"]
    """The kernel's consoles, such as `ttyS0,115200`; the last one leads."""
    overlay: bool = True
    """A writable layer over the image, in memory."""
    quiet: bool = False
    """Let the kernel say little."""
    extra: list[str] = []
    """More arguments, as they are."""

    @property
    def serial(self) -> bool:
        """Whether one of the consoles is a serial line."""
        return any(console.startswith("ttyS") for console in self.console)

    def for_medium(self, volume_id: str, image: str) -> str:
        """The command line for a disc or stick with this volume id (dracut.cmdline(7), dmsquash-live)."""
        words = [f"root=live:CDLABEL={volume_id}", "rd.live.dir=/", f"rd.live.squashimg={image}"]
        return " ".join([*words, *self._common()])

    def _common(self) -> list[str]:
        words = ["rd.live.overlay.overlayfs=1"] if self.overlay else []
        words += [f"console={console}" for console in self.console]
        return [*words, *(["quiet"] if self.quiet else []), *self.extra]
