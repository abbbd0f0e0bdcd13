"""Boot loaders: their programs in an environment, and the files that configure them, from one definition (R61, R68).

A payload carries the programs; the stages that make media write the configuration by the templates beside this module.
"""

from __future__ import annotations

import enum
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from stagewright.errors import Reason, StagewrightError
from stagewright.root import files
from stagewright.root.root import Root

EFI_PROGRAM = "BOOTX64.EFI"
"""The name that UEFI starts from removable media on x86_64 (UEFI specification 3.5.1.1)."""

_GRUB_MODULES = (
    "all_video boot configfile echo efi_gop fat font gfxterm gzio halt iso9660 linux loadenv loopback ls normal "
    "part_gpt part_msdos probe reboot search search_fs_file search_fs_uuid search_label serial sleep terminal test true"
)
_GRUB_EARLY = "configfile $cmdpath/grub.cfg\n"


@dataclass(frozen=True)
class Entry:
    """One line of a boot menu."""

    id: str
    title: str
    arguments: str


@dataclass(frozen=True)
class Menu:
    """A boot menu, whichever loader shows it. ``timeout`` is in seconds; ``consoles`` are the kernel's."""

    entries: Sequence[Entry]
    timeout: int
    volume_id: str
    kernel: str
    initramfs: str
    serial: bool = False


class Loader(enum.StrEnum):
    """The boot loaders for UEFI."""

    SYSTEMD_BOOT = "systemd-boot"
    GRUB = "grub"

    def take(self, root: Root, target: Path, inside: str) -> None:
        """Put the loader's program into ``target``, which the root sees as ``inside``.

        Raises ``ENVIRONMENT_LACKS`` when the environment does not hold the loader.
        """
        if self is Loader.GRUB:
            _make_grub(root, target, inside)
            return
        source = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"
        if not files.exists(root.path, source):
            raise _lacks(self, source, "systemd-boot-efi on Debian, sys-apps/systemd[boot] on Gentoo")
        shutil.copyfile(root.path / source.lstrip("/"), target / EFI_PROGRAM)

    def configuration(self, menu: Menu) -> dict[str, str]:
        """The loader's files by their path on the EFI system partition."""
        if self is Loader.GRUB:
            return {"EFI/BOOT/grub.cfg": _render("grub.cfg", menu)}
        entries = {f"loader/entries/{entry.id}.conf": _render("entry.conf", menu, entry) for entry in menu.entries}
        return {"loader/loader.conf": _render("loader.conf", menu), **entries}

    @property
    def reads_iso(self) -> bool:
        """Whether it finds kernel and initramfs on the ISO; systemd-boot reads nothing but its own partition."""
        return self is Loader.GRUB


def _make_grub(root: Root, target: Path, inside: str) -> None:
    """Link GRUB's modules by grub-mkimage: grub-mkstandalone and grub-mkrescue give other bytes each time."""
    program = next(
        (name for name in ("grub-mkimage", "grub2-mkimage") if files.exists(root.path, f"/usr/bin/{name}")), None
    )
    if program is None or not files.exists(root.path, "/usr/lib/grub/x86_64-efi"):
        raise _lacks(
            Loader.GRUB,
            "grub-mkimage and /usr/lib/grub/x86_64-efi",
            "grub-efi-amd64-bin or sys-boot/grub[grub_platforms_efi-64]",
        )
    early = target / "early.cfg"
    early.write_text(_GRUB_EARLY)
    words = [program, "--format=x86_64-efi", "--prefix=/EFI/BOOT", f"--config={inside}/early.cfg"]
    root.run(*words, f"--output={inside}/{EFI_PROGRAM}", *_GRUB_MODULES.split())
    early.unlink()


def _lacks(loader: Loader, what: str, packages: str) -> StagewrightError:
    return StagewrightError(
        Reason.ENVIRONMENT_LACKS, f"the environment has no {loader} ({what})", hint=f"install {packages}"
    )


def _render(template: str, menu: Menu, entry: Entry | None = None) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("stagewright.media"),
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701  no HTML
    )
    return environment.get_template(template).render(menu=menu, entry=entry)
