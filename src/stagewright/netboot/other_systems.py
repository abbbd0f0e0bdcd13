"""Live systems of other projects: what their initramfs needs to fetch the system over HTTP.

============  ==================================================================================
archiso       docs/README.bootparams of archiso: hooks archiso and archiso_pxe_http of mkinitcpio
live-boot     live-boot(7): ``fetch=``
casper        casper(7) and scripts/casper: ``url=`` of a whole ISO, whose name must end in .iso
============  ==================================================================================
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.media.bootmenu.entry import FoundEntry
from stagewright.media.payload import IMAGE
from stagewright.netboot.methods import CommandLine, Method

WHOLE_ISO = "image.iso"
"""Path, in a set, of a whole ISO, for live systems that mount one."""

_ARCHISO_BASE = "archisobasedir"
_OF_THE_MEDIUM = {
    "archiso": {"archisodevice", "archisolabel", "archisosearchuuid", "archisosearchfilename", "img_dev", "img_loop"},
    "live-boot": {
        "findiso",
        "fromiso",
        "live-media",
        "live-media-path",
        "bootfrom",
        "fetch",
        "toram",
        "verify-checksums",
    },
    "casper": {"iso-scan/filename", "live-media", "live-media-path", "url", "netboot", "toram"},
}


class OtherSystem(enum.StrEnum):
    """A live system that neither dracut nor genkernel starts. The values are those of :mod:`media.menus`."""

    ARCHISO = "archiso"
    LIVE_BOOT = "live-boot"
    CASPER = "casper"

    @property
    def arguments_of_the_medium(self) -> Collection[str]:
        """Names of its arguments about the medium, which a set leaves out."""
        return _OF_THE_MEDIUM[self.value]

    def can_fetch(self, paths: Collection[str]) -> bool:
        """Return True if an initramfs with these files has its programs for HTTP."""
        match self:
            case OtherSystem.ARCHISO:
                return "hooks/archiso_pxe_http" in paths
            case OtherSystem.LIVE_BOOT:
                return any(path.startswith(("lib/live/boot/", "usr/lib/live/boot/")) for path in paths)
            case OtherSystem.CASPER:
                return "scripts/casper" in paths

    def images(self, entry: FoundEntry, files: Collection[str]) -> list[str]:
        """Return the paths of the images on the medium from which it can start; none for the whole ISO."""
        base = _words(entry).get(_ARCHISO_BASE) or "arch"
        patterns = {
            OtherSystem.ARCHISO: rf"{re.escape(base.strip('/'))}/[^/]+/airootfs\.(sfs|erofs)",
            OtherSystem.LIVE_BOOT: r"live/[^/]+\.squashfs",
            OtherSystem.CASPER: r"casper/[^/]+\.squashfs",
        }
        return sorted(name for name in files if re.fullmatch(patterns[self], name))

    def image_in_set(self, image: str) -> str:
        """Return the path in a set of the image with this path on the medium. archiso computes the path itself."""
        return {OtherSystem.ARCHISO: image, OtherSystem.CASPER: WHOLE_ISO}.get(self, IMAGE)

    def fetching(self, folder: str, image: str) -> list[str]:
        """Return the arguments to fetch an image, by the address of the set and the image's path in it."""
        match self:
            case OtherSystem.ARCHISO:
                return [f"archiso_http_srv={folder}/", "ip=dhcp"]
            case OtherSystem.LIVE_BOOT:
                return [f"fetch={folder}/{image}"]  # it asks DHCP by itself
            case OtherSystem.CASPER:
                return ["netboot=url", f"url={folder}/{image}", "ip=dhcp"]

    def keyboard(self, keymap: str) -> str:
        """Return its argument for a keyboard layout."""
        names = {"archiso": "vconsole.keymap", "live-boot": "keyboard-layouts", "casper": "console-setup/layoutcode"}
        return f"{names[self.value]}={keymap}"


@dataclass(frozen=True, kw_only=True)
class OtherCommandLine(CommandLine):
    """Kernel arguments for a live system of another project; ``image_path`` is the path of its image in the set."""

    system: OtherSystem
    image_path: str

    def keyboard(self, keymap: str) -> str:
        """Return the arguments for a keyboard layout."""
        return self.system.keyboard(keymap)

    def _root(self, method: Method, image: str) -> list[str]:
        return self.system.fetching(image.removesuffix(f"/{self.image_path}"), self.image_path)


@dataclass(frozen=True)
class OtherImage:
    """The image of a live system: its file, its path in a set, and files that belong to it, by their paths."""

    file: Path
    path: str
    more: Mapping[str, Path]


def companions(image: str, files: Sequence[str]) -> list[str]:
    """Return the paths of an image's checksums and signatures, which archiso fetches if its arguments ask for them."""
    stem = image.rpartition(".")[0]
    return [name for name in files if name.startswith(f"{stem}.") and name != image]


def _words(entry: FoundEntry) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in entry.arguments.split())
