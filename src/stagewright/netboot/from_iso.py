"""A set for network boot from an existing ISO, ours or another one.

xorriso extracts the files unchanged; nothing is mounted. The kernel arguments come from the boot menu on the ISO, the
possible methods from its initramfs. Live systems by archiso, live-boot and casper fetch their image over HTTP. Any
other initramfs that neither dracut nor genkernel made is refused: it does not read the arguments of a set.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.media.arguments import InitramfsKind
from stagewright.media.bootmenu.entry import FoundEntry
from stagewright.media.initramfs_contents import InitramfsContents
from stagewright.media.inspect import InspectedMedium, inspect
from stagewright.media.menus import other_live_system
from stagewright.media.payload import IMAGE, INITRAMFS, KERNEL
from stagewright.netboot.methods import CommandLine, Method, supported_methods
from stagewright.netboot.other_systems import OtherCommandLine, OtherImage, OtherSystem, companions
from stagewright.netboot.writer import NetSet, NetSetParts, NetSetReport, write_set
from stagewright.temporary import temporary_folder

_OF_THE_MEDIUM = {
    *("root", "real_root", "BOOT_IMAGE", "initrd", "isoboot", "iso-scan/filename"),
    *("rd.live.dir", "rd.live.squashimg", "rd.live.check", "rd.live.ram"),
    *("cdroot", "cdroot_hash", "looptype", "loop", "docache", "verify"),
}
"""Arguments about the medium. They are replaced or removed."""

_SPECIAL = ("docache", "dospeakup", "rd.live.ram", "rd.live.check", "verify")
"""Arguments of menu entries for special cases. The set is made from an entry without them, if there is one."""

_KNOWN_IMAGES = (IMAGE, "LiveOS/squashfs.img", "livecd.squashfs")


@dataclass(frozen=True)
class ExtractedSet:
    """A set that was made from an ISO.

    ``entry`` is the entry of the ISO's boot menu that the set uses, ``parts`` are the paths of kernel, initramfs and
    image on the ISO, ``by`` is the program that made the initramfs, or the live system of another project. ``notes``
    list what the set does not support.
    """

    report: NetSetReport
    entry: FoundEntry
    parts: Mapping[str, str]
    by: InitramfsKind | OtherSystem
    notes: Sequence[str]


def from_iso(iso: Path, target: Path, *, base_url: str = "", combined: bool = True) -> ExtractedSet:
    """Write a set into a new folder, which is removed if that fails.

    Raises ``USAGE`` if the folder is not empty, ``BAD_ARCHIVE`` if the ISO is broken or has no live system,
    ``DIGEST_MISMATCH`` if a file does not match the checksums on the ISO, ``DISK_FULL`` if the folder has no room.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        hint = "remove it, or pass another folder"
        raise StagewrightError(Reason.USAGE, f"{target}: exists and is not empty", hint=hint)
    target.parent.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(target.parent).free, 2 * iso.stat().st_size if iso.is_file() else 0
    try:
        return _extract(iso, target, base_url.rstrip("/"), combined=combined)
    except (OSError, StagewrightError) as error:
        if not _is_for_lack_of_room(error, free < needed):
            raise
        message = f"no space left in {target.parent} ({free >> 20} MiB were free)"
        hint = f"name a folder with about {(needed >> 20) + 1} MiB: twice the size of the ISO"
        raise StagewrightError(Reason.DISK_FULL, message, hint=hint) from error


def _is_for_lack_of_room(error: OSError | StagewrightError, is_small: bool) -> bool:
    """Return True if the disk was full. Programs report that in many ways, with their output as the detail."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    failed = error.reason in (Reason.BAD_ARCHIVE, Reason.COMMAND_FAILED) and bool(error.detail)
    return error.reason is Reason.DISK_FULL or (failed and is_small)


def _extract(iso: Path, target: Path, base_url: str, *, combined: bool) -> ExtractedSet:
    with temporary_folder("netboot", target.parent, hidden=True) as work:
        medium = inspect(iso, work)
        _check(medium)
        folder = work / "set"
        folder.mkdir()
        found = _write(iso, medium, work, folder, base_url, combined=combined)
        if target.exists():
            target.rmdir()
        folder.rename(target)
        return found


def _check(medium: InspectedMedium) -> None:
    wrong = [f"{name} ({check.against})" for check in medium.checks for name in check.wrong]
    if wrong:
        message = f"{medium.path}: files do not match its checksums: {', '.join(wrong)}"
        raise StagewrightError(Reason.DIGEST_MISMATCH, message, hint="copy or download it again")


def _write(
    iso: Path, medium: InspectedMedium, work: Path, folder: Path, base_url: str, *, combined: bool
) -> ExtractedSet:
    trees = (work / "iso", work / "esp")
    entry, kernel, initrds = _entry(medium, trees)
    initramfs, contents, unused = _initramfs(initrds, work)
    net_set = NetSet(
        title=_title(entry) or medium.volume_id,
        command=CommandLine(contents.by, _options(entry)),
        methods=supported_methods(contents.network),
        base_url=base_url,
        combined=combined,
    )
    by: InitramfsKind | OtherSystem
    if contents.by:
        by, other = contents.by, OtherImage(_image(entry, medium, trees[0]), IMAGE, {})
    else:
        by = _other_system(medium, entry, initramfs, contents)
        other = _other_image(by, iso, medium, entry, trees[0])
        command = OtherCommandLine(None, _options(entry, by.arguments_of_the_medium), system=by, image_path=other.path)
        net_set = replace(net_set, command=command, methods=[Method.HTTP], combined=False, image=other.path)
    given = NetSetParts(kernel, initramfs, other.file, more=other.more, unpacked=contents.unpacked)
    report = write_set(given, net_set, folder, int(iso.stat().st_mtime))
    paths = {"kernel": kernel, "initramfs": initramfs, "image": other.file}
    parts = {role: _on_iso(path, work) for role, path in paths.items()}
    return ExtractedSet(report, entry, parts, by, [*_notes(contents, by, base_url), *_unused(unused)])


def _on_iso(path: Path, work: Path) -> str:
    """Return the path of a file on the ISO; the name of the ISO if it is the ISO itself."""
    return str(path.relative_to(work)).partition("/")[2] if path.is_relative_to(work) else path.name


def _other_system(
    medium: InspectedMedium, entry: FoundEntry, initramfs: Path, contents: InitramfsContents
) -> OtherSystem:
    """Return the live system of another project. Raises ``BAD_ARCHIVE`` if it is unknown or cannot fetch an image."""
    found = other_live_system(entry)
    hint = "start this live system from the network as its project documents it"
    if not found:
        message = f"{medium.path}: {initramfs.name}: made by neither dracut nor genkernel (found: an unknown program)"
        raise StagewrightError(Reason.BAD_ARCHIVE, message, hint=hint)
    system = OtherSystem(found)
    if not system.can_fetch(contents.paths):
        message = f"{medium.path}: {initramfs.name}: made for {system}, but cannot fetch an image over HTTP"
        raise StagewrightError(Reason.BAD_ARCHIVE, message, hint=hint)
    return system


def _other_image(system: OtherSystem, iso: Path, medium: InspectedMedium, entry: FoundEntry, tree: Path) -> OtherImage:
    """Return the image of a live system of another project. Raises ``BAD_ARCHIVE`` if it has none, or several."""
    images = system.images(entry, list(medium.files))
    path = system.image_in_set(images[0] if images else "")
    if not images or (len(images) > 1 and system is not OtherSystem.CASPER):
        message = f"{medium.path}: {system} needs one image (found: {', '.join(images) or 'none'})"
        hint = "start this live system from the network as its project documents it"
        raise StagewrightError(Reason.BAD_ARCHIVE, message, hint=hint)
    if system is OtherSystem.CASPER:
        return OtherImage(iso, path, {})
    more = companions(images[0], list(medium.files)) if system is OtherSystem.ARCHISO else []
    return OtherImage(tree / images[0], path, {name: tree / name for name in more})


def _entry(medium: InspectedMedium, trees: Sequence[Path]) -> tuple[FoundEntry, Path, list[Path]]:
    """Return the menu entry that starts the live system without special arguments, its kernel and its initrds.

    Among several the default of the menu comes first.
    """
    candidates = []
    for entry in medium.entries:
        names = (entry.kernel, *entry.initrds)
        if entry.kernel == entry.file:  # a unified kernel image; our media also have its kernel and initramfs
            names = (KERNEL, INITRAMFS)
        kernel, *initrds = (_find(name, trees) for name in names)
        if kernel and initrds and None not in initrds:
            candidates.append((entry, kernel, [path for path in initrds if path]))
    if not candidates:
        message = f"{medium.path}: no boot menu with a kernel and an initramfs that exist on it"
        hint = "use an ISO with a grub.cfg, an isolinux.cfg, or loader/entries"
        raise StagewrightError(Reason.BAD_ARCHIVE, message, hint=hint)
    plain = [one for one in candidates if not set(_names(one[0])).intersection(_SPECIAL)]
    live = [one for one in plain or candidates if {"root", "cdroot", "loop"}.intersection(_names(one[0]))]
    found = live or plain or candidates
    return next((one for one in found if one[0].default), found[0])


def _initramfs(initrds: Sequence[Path], work: Path) -> tuple[Path, InitramfsContents, list[Path]]:
    """Return the initramfs of an entry, its contents, and the files that only hold microcode.

    Initrds that hold programs are joined in their order, as the loader does it.
    """
    contents = {path: InitramfsContents.of(path, work) for path in initrds}
    programs = [path for path in contents if not contents[path].is_microcode] or list(contents)[-1:]
    unused = [path for path in contents if path not in programs]
    if len(programs) == 1:
        return programs[0], contents[programs[0]], unused
    joined = work / "joined.img"
    with joined.open("wb") as target:
        for path in programs:
            with path.open("rb") as source:
                shutil.copyfileobj(source, target)
            target.write(bytes(-target.tell() % 4))  # the kernel expects archives at multiples of four bytes
    return joined, InitramfsContents.of(joined, work), unused


def _unused(initrds: Sequence[Path]) -> Iterator[str]:
    for path in initrds:
        yield f"the boot menu also loads the microcode {path.name}, which the set does not contain"


def _title(entry: FoundEntry) -> str:
    """Return the title, without characters that have a meaning in the menu of some boot loader."""
    return re.sub(r"[^\w .,:+/-]", "", entry.title.split(" (")[0]).strip()[:100]


def _find(name: str, trees: Sequence[Path]) -> Path | None:
    """Return the file at a path from a menu, whose case may differ (ISO 9660); never a file outside the medium."""
    for tree in trees:
        found = tree
        for part in name.lstrip("/").split("/"):
            entries = {path.name.lower(): path for path in found.iterdir()} if found.is_dir() else {}
            exact = found / part
            found = exact if part not in ("", ".", "..") and exact.exists() else entries.get(part.lower(), tree / "\0")
        if "\0" not in str(found) and found.is_file() and found.resolve().is_relative_to(tree.resolve()):
            return found
    return None


def _names(entry: FoundEntry) -> list[str]:
    return [word.partition("=")[0] for word in entry.arguments.split()]


def _image(entry: FoundEntry, medium: InspectedMedium, tree: Path) -> Path:
    """Return the squashfs that the arguments name, or else one at a usual path."""
    words = dict(word.partition("=")[::2] for word in entry.arguments.split())
    folder = words.get("rd.live.dir", "LiveOS").strip("/")
    named = [f"{folder}/{words['rd.live.squashimg']}".lstrip("/")] if "rd.live.squashimg" in words else []
    named += [words["loop"].lstrip("/")] if "loop" in words else []
    others = [name for name in medium.files if name.endswith((".squashfs", ".sfs"))]
    found = [path for name in (*named, *_KNOWN_IMAGES, *others) if (path := _find(name, [tree]))]
    if not found:
        message = f"{medium.path}: no squashfs (not found: {', '.join([*named, *_KNOWN_IMAGES])})"
        raise StagewrightError(Reason.BAD_ARCHIVE, message, hint="use a live medium with a squashfs")
    return found[0]


def _options(entry: FoundEntry, of_the_medium: Collection[str] = _OF_THE_MEDIUM) -> list[str]:
    """Return the arguments that are not about the medium, without placeholders for the boot loader."""
    words = entry.arguments.split()
    left_out = {"BOOT_IMAGE", "initrd", *of_the_medium}
    return [word for word in words if word.partition("=")[0] not in left_out and word != "---" and "$" not in word]


def _notes(contents: InitramfsContents, by: InitramfsKind | OtherSystem, base_url: str) -> Iterator[str]:
    """Yield what this set does not support, with the reason."""
    if by is InitramfsKind.GENKERNEL:
        yield "genkernel's initramfs cannot fetch an image over HTTP: the image is always part of the initramfs"
    elif by is InitramfsKind.DRACUT and Method.HTTP not in supported_methods(contents.network):
        yield "the initramfs has no livenet, so it cannot fetch the image: the image is always part of the initramfs"
    elif not base_url:
        yield "without --base-url only iPXE supports fetching the image over HTTP"
