"""The parts of a payload with the files of its environment that each comes from, for bills of materials.

Media take only some parts::

    kernel-NAME, initramfs-NAME          for each kernel; the initramfs with its microcode
    modules, firmware
    loader-LOADER, network-LOADER, memtest
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from stagewright.arch import Arch
from stagewright.kernel.find import find_image
from stagewright.kinds.common.parts import Part
from stagewright.media.efi import EfiArch
from stagewright.media.firmware_files import SOURCE
from stagewright.media.initramfs_contents import InitramfsContents
from stagewright.media.loaders import Loader
from stagewright.media.memtest import memtest_files
from stagewright.media.payload import FIRMWARE, LOADERS, MODULES, Payload
from stagewright.netboot.programs import PROGRAMS, NetLoader
from stagewright.root.root import Root
from stagewright.trees import files_below


def payload_parts(
    root: Root, payload: Payload, folder: Path, trees: Mapping[str, str], overlay: Path | None, work: Path
) -> list[Part]:
    """Return the parts of a payload in a folder.

    ``trees`` are folders of sources in the environment, by kernel. ``overlay`` has files that are copied into each
    initramfs. ``work`` is a folder for temporary files.
    """
    own = [f"/{name}" for name in files_below(overlay)] if overlay else []
    return [*_kernel_parts(root, payload, folder, trees, own, work), *_loader_parts(root, payload, folder)]


def _kernel_parts(
    root: Root, payload: Payload, folder: Path, trees: Mapping[str, str], own: list[str], work: Path
) -> Iterator[Part]:
    for kernel in payload.kernels:
        name = kernel.name
        sources = f"{trees[name]}/Makefile" if name in trees else ""
        image = find_image(root, kernel.version, "the environment")
        yield Part(f"kernel-{name}", "kernel", [image], name, sources)
        modules = files_below(folder / MODULES / kernel.version)
        paths = [f"/lib/modules/{kernel.version}/{path}" for path in modules]
        yield Part("modules", "modules", paths, name, sources)
        contents = InitramfsContents.of(folder / kernel.initramfs, work)
        regular = sorted(f"/{path}" for path in contents.regular)
        yield Part(f"initramfs-{name}", "initramfs", regular, name, sources, kernel.by, own)
        if payload.microcode:
            codes = [f"{SOURCE}/{path}" for path in payload.microcode]
            yield Part(f"initramfs-{name}", "microcode", codes, name)
    if payload.firmware:
        names = files_below(folder / FIRMWARE)
        yield Part("firmware", "firmware", [f"{SOURCE}/{path}" for path in names])


def _loader_parts(root: Root, payload: Payload, folder: Path) -> Iterator[Part]:
    efi = EfiArch.of(Arch(payload.arch))
    for loader in Loader:
        if (folder / LOADERS / loader).is_dir():
            yield Part(f"loader-{loader}", "loader", loader.origins(root, efi))
    for server in NetLoader:
        if (folder / PROGRAMS / server).is_dir():
            yield Part(f"network-{server}", "loader", server.origins(root, efi))
    if payload.memtest:
        yield Part("memtest", "loader", memtest_files(root))
