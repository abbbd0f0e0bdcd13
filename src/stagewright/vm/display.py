"""Screens of machines: a window on this desktop, or a server for a viewer."""

from __future__ import annotations

import enum
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from stagewright import run
from stagewright.errors import Reason, StagewrightError


class Graphic(enum.StrEnum):
    """Ways to show the screen of a machine."""

    AUTO = "auto"
    GTK = "gtk"
    SDL = "sdl"
    SPICE = "spice"
    VNC = "vnc"


WINDOWS = (Graphic.GTK, Graphic.SDL)

INPUT = ("-device", "qemu-xhci,id=input", "-device", "usb-kbd,bus=input.0", "-device", "usb-tablet,bus=input.0")
"""A keyboard and a pointer that follows that of the viewer. The machine ``virt`` of Arm has neither."""


@dataclass(frozen=True)
class Screen:
    """QEMU's arguments for a screen, and a sentence for the user. ``variables`` are of the environment."""

    arguments: tuple[str, ...]
    notice: str = ""
    variables: tuple[str, ...] = ()


def screen(graphic: Graphic, qemu: str, folder: Path, environ: Mapping[str, str] = os.environ) -> Screen:
    """Return the screen for a choice. ``auto`` is a window if there is a desktop, else SPICE or VNC.

    Raises ``HOST_FEATURE`` if this QEMU does not support the choice.
    """
    known = supported(qemu)
    desktop = "DISPLAY" in environ or "WAYLAND_DISPLAY" in environ
    if graphic is Graphic.AUTO:
        windows = [name for name in WINDOWS if name in known and desktop]
        viewer = Graphic.SPICE if Graphic.SPICE in known and shutil.which("remote-viewer") else Graphic.VNC
        graphic = windows[0] if windows else viewer
    if graphic not in known:
        hint = f"install qemu-system-gui or qemu-system-modules-spice, or use one of: {', '.join(sorted(known))}"
        raise StagewrightError(Reason.HOST_FEATURE, f"{qemu} does not support --graphic {graphic}", hint=hint)
    if graphic in WINDOWS:
        variables = ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR")
        return Screen(("-display", graphic.value, *INPUT), "The screen is in a window.", variables)
    socket = folder / f"{graphic}.socket"
    address = str(socket).replace(",", ",,")
    if graphic is Graphic.SPICE:
        arguments = ("-display", "none", "-spice", f"unix=on,addr={address},disable-ticketing=on", *INPUT)
        return Screen(arguments, f"The screen: remote-viewer spice+unix://{socket}")
    return Screen(("-display", "none", "-vnc", f"unix:{address}", *INPUT), f"The screen: vncviewer {socket}")


def viewer_of(graphic: Graphic, qemu: str) -> Graphic:
    """Return the protocol for viewers, for a choice other than a window. ``auto`` is SPICE if QEMU supports it."""
    if graphic is Graphic.AUTO:
        return Graphic.SPICE if Graphic.SPICE in supported(qemu) else Graphic.VNC
    return graphic


def supported(qemu: str) -> Collection[Graphic]:
    """Return what a QEMU can show. VNC is part of it; displays are modules (``-display help``)."""
    listed = run.run([qemu, "-display", "help"], check=False, timeout=30)
    names = set(listed.stdout.split())
    spice = {Graphic.SPICE} if "addr=" in run.run([qemu, "-spice", "help"], check=False, timeout=30).stdout else set()
    return {Graphic.VNC, *spice, *(name for name in WINDOWS if name.value in names)}
