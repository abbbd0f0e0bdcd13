"""A set for network boot from an ISO that is there already, ours or an official one (R66).

Files come out bit for bit by xorriso, nothing is mounted. How the system wants to be started is read from the medium's
own boot menu, what its initramfs can do from the initramfs.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.media.arguments import InitramfsKind
from stagewright.media.contents import Contents
from stagewright.media.inspect import Entry, Medium, inspect
from stagewright.media.payload import INITRAMFS, KERNEL
from stagewright.netboot.methods import IMAGE, CommandLine, Method, possible
from stagewright.netboot.writer import NetSet, Parts, Written, write_set

_OF_THE_MEDIUM = {
    *("root", "real_root", "BOOT_IMAGE", "initrd", "isoboot", "iso-scan/filename"),
    *("rd.live.dir", "rd.live.squashimg", "rd.live.check", "rd.live.ram"),
    *("cdroot", "cdroot_hash", "looptype", "loop", "docache", "verify"),
}
"""Arguments that tell where the medium is or what to do with it: others replace them, or there is nothing to do."""

_SPECIAL = ("docache", "dospeakup", "rd.live.ram", "rd.live.check", "verify")
"""What menu lines have that are for some people only."""

_KNOWN_IMAGES = (IMAGE, "LiveOS/squashfs.img", "livecd.squashfs")


@dataclass(frozen=True)
class Extracted:
    """What became of an ISO: the line of its boot menu that was followed, where the parts were, what will not work."""

    written: Written
    entry: Entry
    parts: Mapping[str, str]
    by: InitramfsKind
    notes: Sequence[str]


def from_iso(iso: Path, target: Path, *, base_url: str = "", combined: bool = True) -> Extracted:
    """Write a set into a new folder; nothing is left of one that failed.

    Raises ``USAGE`` for a folder with something in it, ``BAD_ARCHIVE`` for an ISO that is broken or has no live system
    in it, ``DIGEST_MISMATCH`` when its own checksums are not met.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        hint = "remove it, or name another one"
        raise StagewrightError(Reason.USAGE, f"{target} is there already and not empty", hint=hint)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as name:
        work = Path(name)
        medium = inspect(iso, work)
        _check(medium)
        folder = work / "set"
        folder.mkdir()
        found = _write(iso, medium, work, folder, base_url.rstrip("/"), combined=combined)
        if target.exists():
            target.rmdir()
        folder.rename(target)
        return found


def _check(medium: Medium) -> None:
    wrong = [f"{name} ({check.against})" for check in medium.checks for name in check.wrong]
    if wrong:
        what = f"{medium.path} does not meet its own checksums: {', '.join(wrong)}"
        raise StagewrightError(Reason.DIGEST_MISMATCH, what, hint="copy or download it again")


def _write(iso: Path, medium: Medium, work: Path, folder: Path, base_url: str, *, combined: bool) -> Extracted:
    trees = (work / "iso", work / "esp")
    entry, kernel, initramfs = _entry(medium, trees)
    image = _image(entry, medium, trees[0])
    contents = Contents.of(initramfs, work)
    by = contents.by or _by_arguments(entry)
    wanted = NetSet(
        title=_title(entry) or medium.volume_id,
        command=CommandLine(by, _options(entry)),
        methods=possible(contents.network),
        base_url=base_url,
        combined=combined,
    )
    written = write_set(Parts(kernel, initramfs, image), wanted, folder, int(iso.stat().st_mtime))
    places = {"kernel": kernel, "initramfs": initramfs, "image": image}
    parts = {role: str(path.relative_to(work)).partition("/")[2] for role, path in places.items()}
    return Extracted(written, entry, parts, by, list(_notes(contents, by, base_url)))


def _entry(medium: Medium, trees: Sequence[Path]) -> tuple[Entry, Path, Path]:
    """The line of the boot menu that starts the live system as it is, and its files."""
    candidates = []
    for entry in medium.entries:
        names = (entry.kernel, entry.initramfs)
        if entry.kernel == entry.file:  # a unified kernel image; kernel and initramfs lie beside it on our media
            names = (KERNEL, INITRAMFS)
        kernel, initramfs = (_find(name, trees) for name in names)
        if kernel and initramfs:
            candidates.append((entry, kernel, initramfs))
    if not candidates:
        what = f"{medium.path} has no boot menu with a kernel and an initramfs that are on it"
        hint = "it should have a grub.cfg, an isolinux.cfg, or loader/entries"
        raise StagewrightError(Reason.BAD_ARCHIVE, what, hint=hint)
    plain = [one for one in candidates if not set(_names(one[0])).intersection(_SPECIAL)]
    live = [one for one in plain or candidates if {"root", "cdroot", "loop"}.intersection(_names(one[0]))]
    return (live or plain or candidates)[0]


def _title(entry: Entry) -> str:
    """What the menu calls the system, in letters that every loader's menu shows as they are."""
    return re.sub(r"[^\w .,:+/-]", "", entry.title.split(" (")[0]).strip()[:100]


def _find(name: str, trees: Sequence[Path]) -> Path | None:
    """A file by the path that a menu names, where case may differ (ISO 9660); never outside the medium."""
    for tree in trees:
        found = tree
        for part in name.lstrip("/").split("/"):
            entries = {path.name.lower(): path for path in found.iterdir()} if found.is_dir() else {}
            exact = found / part
            found = exact if part not in ("", ".", "..") and exact.exists() else entries.get(part.lower(), tree / "\0")
        if "\0" not in str(found) and found.is_file() and found.resolve().is_relative_to(tree.resolve()):
            return found
    return None


def _names(entry: Entry) -> list[str]:
    return [word.partition("=")[0] for word in entry.arguments.split()]


def _image(entry: Entry, medium: Medium, tree: Path) -> Path:
    """The squashfs: as the arguments have it, else where such files are."""
    words = dict(word.partition("=")[::2] for word in entry.arguments.split())
    folder = words.get("rd.live.dir", "LiveOS").strip("/")
    named = [f"{folder}/{words['rd.live.squashimg']}".lstrip("/")] if "rd.live.squashimg" in words else []
    named += [words["loop"].lstrip("/")] if "loop" in words else []
    others = [name for name in medium.files if name.endswith((".squashfs", ".sfs"))]
    found = [path for name in (*named, *_KNOWN_IMAGES, *others) if (path := _find(name, [tree]))]
    if not found:
        what = f"{medium.path} has no squashfs: looked for {', '.join([*named, *_KNOWN_IMAGES])}"
        raise StagewrightError(Reason.BAD_ARCHIVE, what, hint="only live media with a squashfs can start this way")
    return found[0]


def _by_arguments(entry: Entry) -> InitramfsKind:
    """Who reads these arguments, where the initramfs does not tell."""
    return InitramfsKind.DRACUT if "root=live:" in entry.arguments else InitramfsKind.GENKERNEL


def _options(entry: Entry) -> list[str]:
    """The arguments that have nothing to do with the medium; what a boot loader would have filled in is left out."""
    words = entry.arguments.split()
    return [
        word for word in words if word.partition("=")[0] not in _OF_THE_MEDIUM and word != "---" and "$" not in word
    ]


def _notes(contents: Contents, by: InitramfsKind, base_url: str) -> Iterator[str]:
    """What this set cannot do, and why."""
    if contents.by is None:
        yield f"the initramfs was made by neither dracut nor genkernel; its arguments look like {by}'s"
    if by is InitramfsKind.GENKERNEL:
        yield "genkernel's initramfs cannot fetch an image over HTTP: the image always comes as part of the initramfs"
    elif Method.HTTP not in possible(contents.network):
        yield "the initramfs has no livenet, so it cannot fetch the image: it always comes as part of the initramfs"
    elif not base_url:
        yield "without --base-url only iPXE can have the image fetched over HTTP"
