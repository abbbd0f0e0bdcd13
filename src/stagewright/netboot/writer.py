"""Writes a set: a folder for web and TFTP servers, with all configuration made from one definition.

::

    boot/gentoo, boot/gentoo.igz, image.squashfs   the same files as on the ISO, as hard links if possible
    boot.ipxe                                      script for iPXE
    combined.igz                                   initramfs and image in one file, for loaders that load one file
    boot.efi, single.efi                           unified kernel images, for UEFI HTTP Boot
    pxelinux.cfg/default, grub.cfg                 menus of PXELINUX, and of GRUB from the network
    undionly.kpxe, pxelinux.0, grubx64.efi, ...    programs that machines load first
    dnsmasq.conf                                   example configuration of a boot server
    README.md, DIGESTS                             a description, and digests of all files above

A manifest that is added later is not in DIGESTS: its copies for users have more entries (release/origin.py).
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.media.loaders import MenuEntry, grub_words
from stagewright.media.payload import IMAGE, INITRAMFS, KERNEL
from stagewright.media.render import render
from stagewright.netboot.combined import write_combined
from stagewright.netboot.memory import MemoryNeed, Sizes, needs_of
from stagewright.netboot.methods import BIOS_LIMIT, COMBINED, IN_INITRAMFS, CommandLine, Method, tftp_limits
from stagewright.netboot.programs import GrubNet, is_bios
from stagewright.netboot.signatures import SUFFIX, verifying
from stagewright.release.artifact_digests import LISTED, FileDigests, digest_artifact
from stagewright.store.links import link
from stagewright.trees import files_below

UNIFIED, SINGLE = "boot.efi", "single.efi"
"""Kernel and initramfs as one EFI program; the same with the image in it."""

SCRIPT, README, DIGESTS = "boot.ipxe", "README.md", "DIGESTS"

_DESCRIPTIONS = {
    KERNEL: "kernel",
    INITRAMFS: "initramfs",
    IMAGE: "the live system",
    COMBINED: "initramfs and image in one file",
    SCRIPT: "script for iPXE",
    "pxelinux.cfg/default": "menu of PXELINUX",
    "grub.cfg": "menu of GRUB from the network",
    "dnsmasq.conf": "example configuration of a boot server",
    UNIFIED: "kernel, initramfs and arguments as one EFI program, which fetches the image: for UEFI HTTP Boot",
    SINGLE: "the whole system as one EFI program: for UEFI HTTP Boot, or any loader of EFI programs",
    "undionly.kpxe": "iPXE for BIOS machines, with the driver in the ROM of their network card",
    "ipxe.efi": "iPXE for UEFI machines, with iPXE's drivers",
    "snponly.efi": "iPXE for UEFI machines, with the driver in their firmware",
    "pxelinux.0": "PXELINUX for BIOS machines",
    "ldlinux.c32": "module that PXELINUX loads next",
    GrubNet.BIOS.value: "GRUB for BIOS machines",
    GrubNet.EFI.value: "GRUB for UEFI machines",
    GrubNet.ARM64.value: "GRUB for arm64 machines with UEFI",
}

_NAMES = {
    "kernel": KERNEL,
    "initramfs": INITRAMFS,
    "initramfs_name": Path(INITRAMFS).name,  # iPXE names the loaded file by its last component
    "image": IMAGE,
    "in_initramfs": IN_INITRAMFS,
    "combined": COMBINED,
}
"""Names of files for templates."""

_RATIO = 4  # of an unknown initramfs to its compressed size (dracut with all drivers: measured)


@dataclass(frozen=True)
class NetSet:
    """The definition of a set, as one build resolves it.

    The first of the ``methods`` is the default. ``base_url`` is the folder's address on a web server, ``nfs_url`` its
    address on an NFS server, ``nbd_url`` the image's address on an NBD server; "" if unknown. ``timeout`` is in
    seconds. ``budgets`` are the largest sizes of files in bytes, by patterns of their names. ``image`` is the path of
    the image in the set. ``signed`` is True if iPXE is to verify signatures of the files that it loads.
    """

    title: str
    command: CommandLine
    methods: Sequence[Method]
    base_url: str = ""
    nfs_url: str = ""
    nbd_url: str = ""
    timeout: int = 3
    combined: bool = True
    budgets: Mapping[str, int] = field(default_factory=dict)
    image: str = IMAGE
    signed: bool = False

    def image_url(self, method: Method) -> str:
        """Return the address of the image for a method, or "" if it is unknown."""
        addresses = {"base-url": self.base_url, "nfs-url": self.nfs_url, "nbd-url": self.nbd_url}
        return method.image(addresses.get(method.address, ""), self.image)

    @property
    def fetching_methods(self) -> list[Method]:
        """The methods that fetch the image from an address."""
        return [method for method in self.methods if method.address]

    @property
    def serial(self) -> bool:
        """True if menus are also shown on the first serial port."""
        return any(word.startswith("console=ttyS") for word in self.command.options)

    @property
    def entries(self) -> list[MenuEntry]:
        """Entries for PXELINUX and GRUB, which can neither join files nor use the address they were loaded from."""
        return list(self._entries())

    def _entries(self) -> Iterator[MenuEntry]:
        for method in self.methods:
            if method is Method.INITRD and self.combined:
                arguments = self.command.for_method(method, "")
                yield MenuEntry(self.entry_id(method), self.title, arguments, KERNEL, COMBINED)
            elif image := self.image_url(method):
                arguments = self.command.for_method(method, image)
                title = f"{self.title} ({method.description})"
                yield MenuEntry(self.entry_id(method), title, arguments, KERNEL, INITRAMFS)

    @staticmethod
    def entry_id(method: Method) -> str:
        """Return the id of a method's menu entry."""
        return "live" if method is Method.INITRD else f"live-{method}"

    def script_arguments(self, method: str, image: str = "") -> str:
        """Return the kernel arguments in the script for iPXE, where the user can choose the keymap."""
        return self.command.without_keymap().for_method(Method(method), image)

    @property
    def keyboard(self) -> str:
        """The arguments for the keymap, with a variable of iPXE."""
        return self.command.keyboard("${keymap}")


@dataclass(frozen=True)
class NetSetParts:
    """The files of a set that exist already: kernel, initramfs, image, and programs by their name in the set.

    ``combined`` is the file of initramfs and image in one, if it exists already. ``more`` are further files, by their
    paths in the set. ``unpacked`` is the memory of the unpacked initramfs in bytes, or 0 if it is unknown.
    ``digests`` are known digests of kernel, initramfs, image and the combined file, by their paths in the set and by
    algorithm.
    """

    kernel: Path
    initramfs: Path
    image: Path
    programs: Mapping[str, Path] = field(default_factory=dict)
    combined: Path | None = None
    more: Mapping[str, Path] = field(default_factory=dict)
    unpacked: int = 0
    digests: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def needs(self, methods: Sequence[Method]) -> list[MemoryNeed]:
        """Return the memory that the methods need."""
        image, initramfs = (path.stat().st_size for path in (self.image, self.initramfs))
        return needs_of(methods, Sizes(image, initramfs, self.unpacked or _RATIO * initramfs))


@dataclass(frozen=True)
class NetSetReport:
    """A written set: sizes in bytes by path, least memory in MiB by method, limits of TFTP, digests by path."""

    files: Mapping[str, int]
    memory: Mapping[Method, int]
    limits: Sequence[str]
    digests: Mapping[str, FileDigests]

    def to_dict(self) -> dict[str, Any]:
        """Return sizes, memory and limits for JSON."""
        memory = {str(method): need for method, need in self.memory.items()}
        return {"files": dict(self.files), "memory": memory, "limits": list(self.limits)}

    @property
    def summary(self) -> str:
        """Memory and limits as one line."""
        memory = ", ".join(f"{method} {need} MiB" for method, need in self.memory.items())
        return "; ".join([f"least memory: {memory}", *self.limits])


def write_set(
    parts: NetSetParts, net_set: NetSet, folder: Path, epoch: int, sign: Callable[[Path], None] | None = None
) -> NetSetReport:
    """Fill an empty folder. Raises ``BUILD_FAILED`` with every file that exceeds its budget.

    ``sign`` writes the signature of a file next to it.
    """
    main = {KERNEL: parts.kernel, INITRAMFS: parts.initramfs, net_set.image: parts.image}
    for name, source in {**main, **parts.programs, **parts.more}.items():
        link(source, folder / name)
    known = dict(parts.digests)
    if net_set.combined and parts.combined:
        link(parts.combined, folder / COMBINED)
    elif net_set.combined:
        known[COMBINED] = write_combined(parts.initramfs, parts.image, folder / COMBINED).digests
    needs = parts.needs(net_set.methods)
    for name, text in _texts(net_set, parts.programs, needs).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    if sign:
        for name in (KERNEL, INITRAMFS, *([COMBINED] if net_set.combined else []), SCRIPT):
            sign(folder / name)
    sizes = _sizes(folder)
    _check_budgets(sizes, net_set.budgets)
    memory = {need.method: need.least for need in needs}
    large = [
        (name, limit) for name in (COMBINED, net_set.image, INITRAMFS) for limit in tftp_limits(sizes.get(name, 0))
    ]
    limits = [f"{name}: {limit}" for name, limit in large]
    limits += [f"{name}: cannot verify signatures (no imgverify)" for name in _unable(net_set, parts.programs)]
    (folder / README).write_text(_readme(net_set, parts.programs, sizes, memory, limits), encoding="utf-8")
    digests = _write_digests(folder, _sizes(folder), known)
    _set_times(folder, {KERNEL, INITRAMFS, net_set.image, *parts.programs, *parts.more}, epoch)
    return NetSetReport(_sizes(folder), memory, limits, {file.file: file for file in digests})


def choose_entry(folder: Path, method: Method) -> None:
    """Make a method the default of the menus of PXELINUX and GRUB. Files that are hard links get a copy."""
    entry = NetSet.entry_id(method)
    for name, default in (("pxelinux.cfg/default", f"DEFAULT {entry}"), ("grub.cfg", f"set default={entry}")):
        menu = (folder / name).read_text(encoding="utf-8")
        (folder / name).unlink()
        text = re.sub(r"^(DEFAULT |set default=).*", default, menu, count=1, flags=re.MULTILINE)
        (folder / name).write_text(text, encoding="utf-8")


def _unable(net_set: NetSet, programs: Mapping[str, Path]) -> list[str]:
    """Return the programs of a signed set that cannot verify signatures."""
    return [name for name, path in programs.items() if net_set.signed and verifying(path) is False]


def _texts(net_set: NetSet, programs: Mapping[str, Path], needs: Sequence[MemoryNeed]) -> dict[str, str]:
    texts = {SCRIPT: _render(SCRIPT, set=net_set, needs=needs)}
    if net_set.entries:
        by_entry = {net_set.entry_id(need.method): need for need in needs}
        texts["pxelinux.cfg/default"] = _render("pxelinux.cfg", set=net_set, needs=by_entry)
        texts["grub.cfg"] = _render("grub.cfg", set=net_set, needs=by_entry)
    if programs:
        texts["dnsmasq.conf"] = dnsmasq_configuration(net_set.title, programs, net_set.base_url)
    return texts


def dnsmasq_configuration(
    title: str, programs: Sequence[str] | Mapping[str, Path], base_url: str, *, address: str = "", folder: str = ""
) -> str:
    """Return the configuration of a boot server in a network with a DHCP server; without an address, an example."""
    bios = next((name for name in ("undionly.kpxe", "pxelinux.0", GrubNet.BIOS) if name in programs), None)
    efi = next((name for name in ("snponly.efi", "ipxe.efi", GrubNet.EFI) if name in programs), None)
    script = f"{base_url}/{SCRIPT}" if base_url else SCRIPT
    arm64 = GrubNet.ARM64 if GrubNet.ARM64 in programs else None
    facts = {"address": address, "folder": folder, "script": script, "bios": bios, "efi": efi, "arm64": arm64}
    ipxe = "undionly.kpxe" in programs or "ipxe.efi" in programs
    unified = next((name for name in (SINGLE, UNIFIED) if name in programs), None)
    http = http_boot(f"{base_url or 'http://192.0.2.1'}/{unified}") if unified else []
    return _render("dnsmasq.conf", title=title.replace('"', "'"), ipxe=ipxe, http=http, **facts)


def http_boot(url: str) -> list[str]:
    """Return lines for a network's DHCP server, if it is dnsmasq, so that UEFI HTTP Boot loads a program.

    See the UEFI specification 2.10, section 24.7.
    """
    return [
        "dhcp-match=set:http,option:client-arch,16",
        "dhcp-vendorclass=set:http,HTTPClient",
        "dhcp-option-force=tag:http,60,HTTPClient",
        f"dhcp-boot=tag:http,{url}",
    ]


def _readme(
    net_set: NetSet,
    programs: Mapping[str, Path],
    sizes: Mapping[str, int],
    memory: Mapping[Method, int],
    limits: Sequence[str],
) -> str:
    first = {net_set.methods[0]: "the default; "}
    rows = [
        {"method": one, "memory": need, "how": first.get(one, "") + _how(one, net_set)} for one, need in memory.items()
    ]
    files = [{"name": name, "size": size, "description": _describe(name, net_set)} for name, size in sizes.items()]
    listed = [{"name": name, "description": _DESCRIPTIONS[name]} for name in programs]
    return _render(README, set=net_set, files=files, methods=rows, programs=listed, limits=limits)


def _describe(name: str, net_set: NetSet) -> str:
    if name.endswith(SUFFIX):
        return f"signature of {name.removesuffix(SUFFIX)}, for iPXE"
    other = _DESCRIPTIONS[IMAGE] if name == net_set.image else "belongs to the live system"
    return _DESCRIPTIONS.get(name, other)


def _how(method: Method, net_set: NetSet) -> str:
    """Return how a user selects a method."""
    if method is Method.INITRD:
        return "works with every loader"
    known = bool(net_set.image_url(method))
    address = "" if known or method.address == "base-url" else f" and `set {method.address} ADDRESS`"
    return f"iPXE: `set method {method}`{address} before `chain`" + ("; menus have an entry for it" if known else "")


def _check_budgets(sizes: Mapping[str, int], budgets: Mapping[str, int]) -> None:
    """Raise an error for each file that is too large. Programs for BIOS machines always have a limit."""
    problems = []
    for name, size in sizes.items():
        limits = [limit for pattern, limit in budgets.items() if fnmatch.fnmatch(name, pattern)]
        limits += [BIOS_LIMIT] if is_bios(name) else []
        if limits and size > min(limits):
            message = f"{name}: too large ({size} bytes, {size - min(limits)} more than its limit)"
            hint = "make it smaller, or raise its budget"
            if min(limits) == BIOS_LIMIT:
                hint = f"make it smaller; BIOS machines load at most {BIOS_LIMIT} bytes"
            problems.append(StagewrightError(Reason.BUILD_FAILED, message, hint=hint))
    for pattern in budgets:
        if not fnmatch.filter(sizes, pattern):
            message = f"budget: no file of the set matches {pattern}"
            problems.append(StagewrightError(Reason.BUILD_FAILED, message, hint=f"its files: {', '.join(sizes)}"))
    if problems:
        raise ProblemsError(problems)


def methods_of(folder: Path) -> list[Method]:
    """Return the methods of a set, by the sections of its script for iPXE."""
    script = (folder / SCRIPT).read_text(errors="replace", encoding="utf-8")
    return [method for method in Method if f"\n:{method}\n" in script]


def memory_of(folder: Path) -> dict[str, int]:
    """Return the least memory in MiB, by method, from the script of a set; older sets do not have it."""
    script = (folder / SCRIPT).read_text(errors="replace", encoding="utf-8")
    return {method: int(need) for method, need in re.findall(r"^set least-([a-z]+) (\d{1,9})$", script, re.MULTILINE)}


def _write_digests(folder: Path, names: Iterable[str], known: Mapping[str, Mapping[str, str]]) -> list[FileDigests]:
    """Write DIGESTS in the format of Gentoo's releases. Paths are relative to the folder."""
    files = [replace(digest_artifact(folder / name, known=known.get(name)), file=name) for name in names]
    (folder / DIGESTS).write_text("".join(file.lines(*LISTED) for file in files), encoding="utf-8")
    return files


def _sizes(folder: Path) -> dict[str, int]:
    paths = sorted(path for path in (folder / name for name in files_below(folder)) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}


def _set_times(folder: Path, linked: Collection[str], epoch: int) -> None:
    """Set the time of all written files. Hard links share the time of their source, so they are skipped."""
    for name in _sizes(folder):
        if name not in linked:
            os.utime(folder / name, (epoch, epoch))


def _render(template: str, **facts: object) -> str:
    return render("stagewright.netboot", template, names=_NAMES, grub_words=grub_words, **facts)
