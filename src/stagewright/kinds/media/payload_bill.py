"""The bill of materials of a payload: which package of its environment each part comes from.

A payload has the folder ``bill`` with a file for each part, since media take only some parts::

    bill/kernel-NAME.json, bill/initramfs-NAME.json   for each kernel; the initramfs with its microcode
    bill/modules.json, bill/firmware.json
    bill/loader-LOADER.json, bill/network-LOADER.json, bill/memtest.json

The owner of a part is the package that has its file in the environment. A kernel that was compiled here belongs to the
package of its sources. A file of an initramfs belongs to the package with the same path in the environment, or, if
there is none, to the program that made the initramfs, if that has a file of this name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.arch import Arch
from stagewright.chroot import inside
from stagewright.kernel.find import find_image
from stagewright.kinds.common.bills import RootRecords, unowned_files
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.work import Work
from stagewright.media.arguments import InitramfsKind
from stagewright.media.efi import EfiArch
from stagewright.media.firmware_files import SOURCE
from stagewright.media.initramfs_contents import InitramfsContents
from stagewright.media.loaders import Loader
from stagewright.media.memtest import memtest_files
from stagewright.media.payload import FIRMWARE, LOADERS, MODULES, BootKernel, Payload
from stagewright.netboot.programs import PROGRAMS, NetLoader
from stagewright.portage.emerge import Portage
from stagewright.portage.installed import installed_packages
from stagewright.release.bill import Bill, Image, joined
from stagewright.release.owners import Owners
from stagewright.root.root import Root
from stagewright.trees import files_below

FOLDER = "bill"

_BY_DRACUT = re.compile(r"(?:\d+-)?(?P<name>.+)")


@dataclass(frozen=True)
class Part:
    """A part of a payload: its files, as absolute paths in the environment.

    ``sources`` is a file of the package that unowned modules and kernels were compiled from, or "". ``maker`` says
    what made the other files without owner.
    """

    name: str
    image: Image
    why: str
    paths: Sequence[str]
    maker: str = ""
    sources: str = ""
    by: InitramfsKind | None = None


def write_payload_bill(
    work: Work[PackageContext], root: Root, portage: Portage, payload: Payload, trees: Mapping[str, str]
) -> None:
    """Write the bill of a payload that is in the work folder. ``trees`` are folders of sources, by kernel."""
    folder = work.folder / "payload"
    packages = inside(root.path, installed_packages, Path("/"))
    own = portage.ebuild_facts(packages, work.key.data["repos"])
    records = RootRecords.of(work, "root", root.path, own)
    parts = [*_kernel_parts(work, root, payload, folder, trees), *_loader_parts(root, payload, folder)]
    found = inside(root.path, _resolved, records.owners, parts)
    (folder / FOLDER).mkdir()
    bills: dict[str, list[Bill]] = {}
    for part, (counts, unowned) in zip(parts, found, strict=True):
        components = tuple(records.component(index, part.image, part.why) for index in sorted(counts))
        rest = (unowned_files(part.image, part.maker or part.why, unowned),) if unowned else ()
        bills.setdefault(part.name, []).append(Bill(components=components, unowned=rest))
    for name, some in bills.items():
        joined(some).write(folder / FOLDER / f"{name}.json")


def read_payload_bill(folder: Path, kernels: Iterable[BootKernel], *others: str) -> Bill:
    """Return the bill of the kernels, modules, firmware and other parts of a payload that a medium takes."""
    names = [f"{kind}-{kernel.name}" for kernel in kernels for kind in ("kernel", "initramfs")]
    paths = [folder / FOLDER / f"{name}.json" for name in (*names, "modules", "firmware", *others)]
    return joined(Bill.read(path) for path in paths if path.exists())


def _kernel_parts(
    work: Work[PackageContext], root: Root, payload: Payload, folder: Path, trees: Mapping[str, str]
) -> Iterator[Part]:
    for kernel in payload.kernels:
        sources = f"{trees[kernel.name]}/Makefile" if kernel.name in trees else ""
        image = find_image(root, kernel.version, "the environment")
        why = f"compiled from {trees[kernel.name]}" if sources else f"kernel {kernel.name}"
        yield Part(f"kernel-{kernel.name}", Image.KERNEL, why, [image], sources=sources)
        modules = files_below(folder / MODULES / kernel.version)
        paths = [f"/lib/modules/{kernel.version}/{name}" for name in modules]
        yield Part("modules", Image.MODULES, f"modules of kernel {kernel.name}", paths, "depmod", sources)
        contents = InitramfsContents.of(folder / kernel.initramfs, work.folder)
        maker, why = f"{kernel.by}, for kernel {kernel.name}", f"in the initramfs of kernel {kernel.name}"
        paths = list(_files(contents.paths))
        yield Part(f"initramfs-{kernel.name}", Image.INITRAMFS, why, paths, maker, sources, kernel.by)
        if payload.microcode:
            codes = [f"{SOURCE}/{name}" for name in payload.microcode]
            yield Part(f"initramfs-{kernel.name}", Image.MICROCODE, "`microcode` asks for it", codes)
    if payload.firmware:
        names = files_below(folder / FIRMWARE)
        yield Part("firmware", Image.FIRMWARE, "`firmware` asks for it", [f"{SOURCE}/{name}" for name in names])


def _loader_parts(root: Root, payload: Payload, folder: Path) -> Iterator[Part]:
    efi = EfiArch.of(Arch(payload.arch))
    for loader in Loader:
        if (folder / LOADERS / loader).is_dir():
            yield Part(f"loader-{loader}", Image.LOADER, f"boot loader {loader}", loader.origins(root, efi))
    for server in NetLoader:
        if (folder / PROGRAMS / server).is_dir():
            yield Part(f"network-{server}", Image.LOADER, f"{server} for the network", server.origins(root, efi))
    if payload.memtest:
        yield Part("memtest", Image.LOADER, "`memtest` asks for it", memtest_files(root))


def _files(names: Iterable[str]) -> Iterator[str]:
    """Yield the absolute paths of an archive's names that are not folders of others."""
    every = sorted(names)
    folders = {name.rpartition("/")[0] for name in every}
    folders |= {above for name in folders for above in _above(name)}
    yield from (f"/{name}" for name in every if name not in folders and name not in ("", "."))


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _resolved(owners: Owners, parts: Iterable[Part]) -> list[tuple[dict[int, int], list[str]]]:
    """Return, for each part, the number of files of each package by index, and the files without owner."""
    scripts = {path.rpartition("/")[2]: index for path, index in owners.by_path.items() if "/dracut/modules.d/" in path}
    genkernel = next((index for index, one in enumerate(owners.packages) if one.name == "sys-kernel/genkernel"), None)
    found = []
    for part in parts:
        paths = [path for path in part.paths if part.by is None or not os.path.isdir(path)]  # noqa: PTH112
        counts, unowned = owners.of_paths(paths)
        rest: list[str] = []
        for path in unowned:
            index = _maker(path, part, owners, scripts, genkernel)
            if index is None:
                rest.append(path)
            else:
                counts[index] = counts.get(index, 0) + 1
        found.append((counts, rest))
    return found


def _maker(path: str, part: Part, owners: Owners, scripts: Mapping[str, int], genkernel: int | None) -> int | None:
    """Return the index of the package that a file without owner was made from."""
    name = path.rpartition("/")[2]
    if part.sources and (part.image is Image.KERNEL or ".ko" in name):
        return owners.owner(part.sources)
    if part.by is InitramfsKind.GENKERNEL:
        return genkernel
    if part.by is InitramfsKind.DRACUT and (match := _BY_DRACUT.fullmatch(name)):
        return next((scripts[one] for one in (name, match["name"], f"{name}.sh") if one in scripts), None)
    return None
