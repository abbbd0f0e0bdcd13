"""Write a set: a folder for web and TFTP servers, with all configuration from one definition (R61, R68).

::

    boot/gentoo, boot/gentoo.igz, image.squashfs   the very files that the ISO holds, as hard links where possible
    boot.ipxe                                      for iPXE
    combined.igz                                   initramfs and image in one, for loaders that know only one file
    boot.efi, single.efi                           as one program, for UEFI HTTP Boot
    pxelinux.cfg/default, grub.cfg                 for PXELINUX, and GRUB from the network
    undionly.kpxe, pxelinux.0, grubx64.efi, ...    programs that machines load first
    dnsmasq.conf                                   an example for a boot server
    README.md, DIGESTS                             what all this is, and digests of every other file
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.media.render import render
from stagewright.netboot import programs as known
from stagewright.netboot.combined import write_combined
from stagewright.netboot.methods import (
    BIOS_LIMIT,
    COMBINED,
    IMAGE,
    IN_INITRAMFS,
    INITRAMFS,
    KERNEL,
    CommandLine,
    Method,
    tftp_limits,
)
from stagewright.release.artifact_digests import LISTED, FileDigests, digest_artifact
from stagewright.store.links import link

UNIFIED, SINGLE = "boot.efi", "single.efi"
"""Kernel and initramfs as one program, without and with the image in it."""

SCRIPT, README, DIGESTS = "boot.ipxe", "README.md", "DIGESTS"

_WHAT = {
    KERNEL: "kernel",
    INITRAMFS: "initramfs",
    IMAGE: "the live system",
    COMBINED: "initramfs and image in one file",
    SCRIPT: "script for iPXE",
    "pxelinux.cfg/default": "menu of PXELINUX",
    "grub.cfg": "menu of GRUB from the network",
    "dnsmasq.conf": "example of a boot server's configuration",
    UNIFIED: "kernel, initramfs and arguments as one EFI program, which fetches the image: for UEFI HTTP Boot",
    SINGLE: "the whole system as one EFI program: for UEFI HTTP Boot, or any loader of EFI programs",
    "undionly.kpxe": "iPXE for BIOS machines, with the driver of their network card's ROM",
    "ipxe.efi": "iPXE for UEFI machines, with drivers of its own",
    "snponly.efi": "iPXE for UEFI machines, with the driver of their firmware",
    "pxelinux.0": "PXELINUX for BIOS machines",
    "ldlinux.c32": "what PXELINUX loads next",
    known.GrubNet.BIOS.value: "GRUB for BIOS machines",
    known.GrubNet.EFI.value: "GRUB for UEFI machines",
    known.GrubNet.ARM64.value: "GRUB for arm64 machines with UEFI",
}


@dataclass(frozen=True)
class NetSet:
    """What a set is to be.

    ``methods`` are the ways it is meant for, the first one being what happens when nobody chooses. ``base_url`` is
    where the folder will be on the web, ``nfs_url`` where on an NFS server, ``nbd_url`` what serves the image by NBD.
    ``budgets`` are the most bytes that files may have, by patterns of their names.
    """

    title: str
    command: CommandLine
    methods: Sequence[Method]
    base_url: str = ""
    nfs_url: str = ""
    nbd_url: str = ""
    timeout: int = 3  # seconds
    combined: bool = True
    budgets: Mapping[str, int] = field(default_factory=dict)

    def image(self, method: Method) -> str:
        """Where the image is for a method; empty where nobody said."""
        known = {"base-url": self.base_url, "nfs-url": self.nfs_url, "nbd-url": self.nbd_url}
        return method.image(known.get(method.address, ""))


@dataclass(frozen=True)
class Parts:
    """The files that a set is made of: kernel, initramfs, image; programs by their name in the set.

    ``combined`` is the file of initramfs and image, where it was made already.
    """

    kernel: Path
    initramfs: Path
    image: Path
    programs: Mapping[str, Path] = field(default_factory=dict)
    combined: Path | None = None


@dataclass(frozen=True)
class Written:
    """What was written: sizes in bytes by path, the least memory in MiB by method, and what to beware of."""

    files: Mapping[str, int]
    memory: Mapping[Method, int]
    limits: Sequence[str]
    digests: Mapping[str, FileDigests]

    def to_dict(self) -> dict[str, Any]:
        """For facts and machines."""
        memory = {str(method): need for method, need in self.memory.items()}
        return {"files": dict(self.files), "memory": memory, "limits": list(self.limits)}


def write_set(parts: Parts, wanted: NetSet, folder: Path, epoch: int) -> Written:
    """Fill an empty folder. Raises ``BUILD_FAILED`` for every file that exceeds what it may have."""
    for name, source in {KERNEL: parts.kernel, INITRAMFS: parts.initramfs, IMAGE: parts.image}.items():
        link(source, folder / name)
    for name, source in parts.programs.items():
        link(source, folder / name)
    if wanted.combined and parts.combined:
        link(parts.combined, folder / COMBINED)
    elif wanted.combined:
        write_combined(parts.initramfs, parts.image, folder / COMBINED)
    for name, text in _texts(wanted, parts.programs).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    sizes = _sizes(folder)
    _check_budgets(sizes, wanted.budgets)
    image, initramfs = parts.image.stat().st_size, parts.initramfs.stat().st_size
    memory = {method: method.memory(image, initramfs) for method in wanted.methods}
    limits = [
        f"{name}: {what}" for name in (COMBINED, IMAGE, INITRAMFS) if name in sizes for what in tftp_limits(sizes[name])
    ]
    (folder / README).write_text(_readme(wanted, parts.programs, sizes, memory, limits), encoding="utf-8")
    digests = add_digests(folder, _sizes(folder), epoch)
    _settle_times(folder, parts, epoch)
    return Written(_sizes(folder), memory, limits, {file.file: file for file in digests})


@dataclass(frozen=True)
class Entry:
    """One line of a menu: PXELINUX's and GRUB's, which know one initramfs."""

    id: str
    title: str
    initramfs: str
    arguments: str


class _View:
    """A set as templates see it."""

    kernel, initramfs, image, in_initramfs = KERNEL, INITRAMFS, IMAGE, IN_INITRAMFS
    initramfs_name = Path(INITRAMFS).name  # what iPXE calls the file

    def __init__(self, wanted: NetSet) -> None:
        self.title, self.base_url = wanted.title, wanted.base_url
        self.nfs_url, self.nbd_url = wanted.nfs_url, wanted.nbd_url
        self.timeout = wanted.timeout
        self.methods = list(wanted.methods)
        self.over_the_network = [method for method in wanted.methods if method.address]
        self.combined = COMBINED if wanted.combined else ""
        self.serial = any(word.startswith("console=ttyS") for word in wanted.command.options)
        self.keymap = wanted.command.keymap
        self.entries = list(_entries(wanted))
        self._wanted = wanted

    def line(self, method: str, image: str = "") -> str:
        """The kernel's arguments where the keymap can be chosen."""
        return self._wanted.command.without_keymap().for_method(Method(method), image)

    @property
    def keyboard(self) -> str:
        """The arguments for the keymap, with iPXE's variable in them."""
        return self._wanted.command.keyboard("${keymap}")


def _entries(wanted: NetSet) -> Iterator[Entry]:
    """Menus of loaders that can neither join files nor tell where they came from."""
    for method in wanted.methods:
        if method is Method.INITRD and wanted.combined:
            yield Entry("live", wanted.title, COMBINED, wanted.command.for_method(method, ""))
        elif image := wanted.image(method):
            arguments = wanted.command.for_method(method, image)
            yield Entry(f"live-{method}", f"{wanted.title} ({method.what})", INITRAMFS, arguments)


def _texts(wanted: NetSet, programs: Mapping[str, Path]) -> dict[str, str]:
    view = _View(wanted)
    texts = {SCRIPT: _render(SCRIPT, set=view)}
    if view.entries:
        texts |= {"pxelinux.cfg/default": _render("pxelinux.cfg", set=view), "grub.cfg": _render("grub.cfg", set=view)}
    if programs:
        texts["dnsmasq.conf"] = dnsmasq_configuration(wanted.title, programs, wanted.base_url)
    return texts


def dnsmasq_configuration(
    title: str, programs: Sequence[str] | Mapping[str, Path], base_url: str, *, address: str = "", folder: str = ""
) -> str:
    """The configuration of a boot server beside a DHCP server; without an address, an example of one."""
    bios = next((name for name in ("undionly.kpxe", "pxelinux.0", known.GrubNet.BIOS) if name in programs), None)
    efi = next((name for name in ("snponly.efi", "ipxe.efi", known.GrubNet.EFI) if name in programs), None)
    script = f"{base_url}/{SCRIPT}" if base_url else SCRIPT
    arm64 = known.GrubNet.ARM64 if known.GrubNet.ARM64 in programs else None
    facts = {"address": address, "folder": folder, "script": script, "bios": bios, "efi": efi, "arm64": arm64}
    ipxe = "undionly.kpxe" in programs or "ipxe.efi" in programs
    unified = next((name for name in (SINGLE, UNIFIED) if name in programs), None)
    http = http_boot(f"{base_url or 'http://192.0.2.1'}/{unified}") if unified else []
    return _render("dnsmasq.conf", set={"title": title.replace('"', "'")}, ipxe=ipxe, http=http, **facts)


def http_boot(url: str) -> list[str]:
    """What a network's DHCP server, being dnsmasq, is told so that UEFI HTTP Boot takes a program (UEFI 2.10, 24.7)."""
    return [
        "dhcp-match=set:http,option:client-arch,16",
        "dhcp-vendorclass=set:http,HTTPClient",
        "dhcp-option-force=tag:http,60,HTTPClient",
        f"dhcp-boot=tag:http,{url}",
    ]


def _readme(
    wanted: NetSet,
    programs: Mapping[str, Path],
    sizes: Mapping[str, int],
    memory: Mapping[Method, int],
    limits: Sequence[str],
) -> str:
    first = {wanted.methods[0]: "what happens when nobody chooses; "}
    rows = [
        {"method": one, "memory": need, "how": first.get(one, "") + _how(one, wanted)} for one, need in memory.items()
    ]
    files = [{"name": name, "size": size, "what": _WHAT[name]} for name, size in sizes.items()]
    listed = [{"name": name, "what": _WHAT[name]} for name in programs]
    return _render(README, set=_View(wanted), files=files, methods=rows, programs=listed, limits=limits)


def _how(method: Method, wanted: NetSet) -> str:
    """How one gets a method."""
    if method is Method.INITRD:
        return "works with every loader"
    known = bool(wanted.image(method))
    unknown = "" if known or method.address == "base-url" else f" and `set {method.address} ADDRESS`"
    return f"iPXE: `set method {method}`{unknown} before `chain`" + ("; menus have a line for it" if known else "")


def _check_budgets(sizes: Mapping[str, int], budgets: Mapping[str, int]) -> None:
    """Refuse files that are too large; programs for BIOS machines have a limit of their own (R73)."""
    problems = []
    for name, size in sizes.items():
        limits = [limit for pattern, limit in budgets.items() if fnmatch.fnmatch(name, pattern)]
        limits += [BIOS_LIMIT] if known.is_bios(name) else []
        if limits and size > min(limits):
            what = f"{name} has {size} bytes, {size - min(limits)} more than it may"
            hint = "make it smaller, or raise its budget" if min(limits) != BIOS_LIMIT else "BIOS machines load no more"
            problems.append(StagewrightError(Reason.BUILD_FAILED, what, hint=hint))
    unused = [pattern for pattern in budgets if not fnmatch.filter(sizes, pattern)]
    for pattern in unused:
        what = f"budget: no file of the set is called {pattern}"
        problems.append(StagewrightError(Reason.BUILD_FAILED, what, hint=f"its files: {', '.join(sizes)}"))
    if problems:
        raise ProblemsError(problems)


def methods_of(folder: Path) -> list[Method]:
    """The ways to start that a set has, by the sections of its script for iPXE."""
    script = (folder / SCRIPT).read_text(errors="replace", encoding="utf-8")
    return [method for method in Method if f"\n:{method}\n" in script]


def add_digests(folder: Path, names: Iterable[str], epoch: int) -> list[FileDigests]:
    """Have DIGESTS cover these files too, in the form of Gentoo's releases; paths are those below the folder (R72)."""
    files = [replace(digest_artifact(folder / name), file=name) for name in names]
    with (folder / DIGESTS).open("a", encoding="utf-8") as stream:
        stream.write("".join(file.lines(*LISTED) for file in files))
    os.utime(folder / DIGESTS, (epoch, epoch))
    return files


def _sizes(folder: Path) -> dict[str, int]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}


def _settle_times(folder: Path, parts: Parts, epoch: int) -> None:
    """One time for all that was written; links keep that of what they are links to."""
    linked = {KERNEL, INITRAMFS, IMAGE, *parts.programs}
    for name in _sizes(folder):
        if name not in linked:
            os.utime(folder / name, (epoch, epoch))


def _render(template: str, **facts: object) -> str:
    return render("stagewright.netboot", template, **facts)
