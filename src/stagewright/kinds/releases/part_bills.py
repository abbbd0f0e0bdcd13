"""Bills of materials of parts: which package of the root each part was taken from comes from.

A kernel that was compiled belongs to the package of its sources. A file of an initramfs belongs to the package with the
same path in the root, or, if there is none, to the program that made the initramfs, if that has a file of this name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from stagewright.kinds.common.parts import Part, PartRecords
from stagewright.kinds.releases.root_bill import unowned_files
from stagewright.media.arguments import InitramfsKind
from stagewright.portage.ebuild_records import EbuildRecord
from stagewright.release.bill import Bill, Image, joined
from stagewright.release.components import component_of
from stagewright.release.file_list import ListedFile, listed_file
from stagewright.release.owners import Owners
from stagewright.trees import LONGEST_PATH

_BY_DRACUT = re.compile(r"(?:\d+-)?(?P<name>.+)")


def part_bills(records: PartRecords, node: str) -> dict[str, Bill]:
    """Return the bills of all parts of the result of a node, by name."""
    found: dict[str, list[Bill]] = {}
    parts = _Parts.of(records, node)
    for part in records.parts:
        found.setdefault(part.name, []).append(parts.bill(part))
    return {name: joined(bills) for name, bills in found.items()}


def part_files(records: PartRecords, node: str) -> dict[str, list[ListedFile]]:
    """Return the entries of the files of all parts of the result of a node, by name."""
    found: dict[str, list[ListedFile]] = {}
    parts = _Parts.of(records, node)
    for part in records.parts:
        found.setdefault(part.name, []).extend(parts.files(part))
    return found


@dataclass(frozen=True)
class _Parts:
    """Owners of the files of parts. ``scripts`` has packages by the names of dracut's files."""

    records: PartRecords
    node: str
    owners: Owners
    ebuilds: Mapping[str, EbuildRecord]
    scripts: Mapping[str, int]
    genkernel: int | None
    modules: Mapping[str, int] = field(default_factory=dict)
    """Packages of modules, by kernel."""

    @classmethod
    def of(cls, records: PartRecords, node: str) -> _Parts:
        owners = Owners.of(records.installed)
        scripts = {path.rpartition("/")[2]: index for path, index in owners.by_path.items() if "/lib/dracut/" in path}
        makers = (index for index, one in enumerate(owners.packages) if one.name.startswith("sys-kernel/genkernel-"))
        modules: dict[str, int] = {}
        for part in records.parts:
            counts, _ = owners.of_paths(part.paths if part.name == "modules" else ())
            if counts:
                modules[part.kernel] = max(counts, key=lambda index: counts[index])
        return cls(records, node, owners, records.records.by_package, scripts, next(makers, None), modules)

    def bill(self, part: Part) -> Bill:
        """Return the bill of one part."""
        own, owned = set(part.own), self._owned(part)
        rest = [path for path, index in owned if index is None and path not in own]
        image, areas = Image(part.image), self.records.records.areas
        packages = self.owners.packages
        indexes = sorted({index for _, index in owned if index is not None})
        components = [component_of(packages[i], self.ebuilds, areas, image, _why(part)) for i in indexes]
        named = [(_maker_name(part), rest), (OVERLAY, [path for path, _ in owned if path in own])]
        entries = (one for maker, paths in named for one in unowned_files(image, self.node, paths, maker))
        return Bill(components=tuple(components), unowned=tuple(entries))

    def files(self, part: Part) -> list[ListedFile]:
        """Return the entries of the files of one part."""
        image, packages = Image(part.image), self.owners.packages
        return [
            listed_file(image, None if index is None else packages[index], path) for path, index in self._owned(part)
        ]

    def _owned(self, part: Part) -> list[tuple[str, int | None]]:
        """Return the files of a part, each with the index of its package; None if it has no owner."""
        own, made = set(part.own), set(part.made)
        with_codes = any(one.image == Image.MICROCODE for one in self.records.parts if one.kernel == part.kernel)
        counted = (path for path in part.paths if path in own or not (with_codes and path.startswith(_MICROCODE)))
        return [(path, None if path in own else self._owner(path, part, made=path in made)) for path in counted]

    def _owner(self, path: str, part: Part, *, made: bool) -> int | None:
        found = self.owners.owner(path) if len(path) <= LONGEST_PATH else None
        return self._maker(path, part, made=made) if found is None else found

    def _maker(self, path: str, part: Part, *, made: bool) -> int | None:
        """Return the index of the package that a file without owner was made from.

        If the root has the file, it was copied from there, and no package is known (``made`` is False).
        """
        name = path.rpartition("/")[2]
        if part.sources and (part.image == Image.KERNEL or ".ko" in name):
            return self.owners.owner(part.sources)
        if part.image == Image.KERNEL:  # installkernel copies the image to /boot
            return self.modules.get(part.kernel)
        if made and part.by == InitramfsKind.GENKERNEL:
            return self.genkernel
        if made and part.by == InitramfsKind.DRACUT and (match := _BY_DRACUT.fullmatch(name)):
            names = (name, match["name"], f"{name}.sh")
            return next((self.scripts[one] for one in names if one in self.scripts), None)
        return None


_MICROCODE = "/kernel/x86/microcode/"
"""The files that all microcode is joined in. The part ``microcode`` has their sources."""

OVERLAY = "overlay of the project"
"""The origin of files that the project itself adds to an initramfs."""

_WHY = {
    Image.KERNEL: "kernel {kernel}",
    Image.MODULES: "modules of kernel {kernel}",
    Image.INITRAMFS: "in the initramfs of kernel {kernel}",
    Image.MICROCODE: "`microcode` asks for it",
    Image.FIRMWARE: "`firmware` asks for it",
    Image.LOADER: "boot program {name}",
}


def _why(part: Part) -> str:
    if part.image == Image.KERNEL and part.sources:
        return f"compiled from {part.sources.rpartition('/')[0]}"
    name = part.name.partition("-")[2] or part.name
    return _WHY[Image(part.image)].format(kernel=part.kernel, name=name)


def _maker_name(part: Part) -> str:
    """Return what made the files of a part that have no owner."""
    if part.by:
        return f"{part.by}, for kernel {part.kernel}"
    return f"depmod, for kernel {part.kernel}" if part.image == Image.MODULES else _why(part)
