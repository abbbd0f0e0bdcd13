"""Kernel packages in builds with ROOT set, which fail at the end of a long build.

``dist-kernel-utils.eclass`` makes an initramfs in pkg_postinst, and dies if ROOT is set: with ``USE=initramfs``, which
is on by default, and without ``USE=generic-uki``, for which the package brings a finished image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stagewright.lazy_pattern import lazy_pattern
from stagewright.portage.config_files import lines_of
from stagewright.portage.repositories import Repository
from stagewright.untrusted import read_text

_ECLASS = lazy_pattern(r"^\s*inherit\b.*\bkernel-(?:build|install)\b", re.MULTILINE)
_FITS = ("-initramfs", "generic-uki")


def kernel_notes(
    packages: Iterable[str], repos: Sequence[Repository], use: Sequence[str], confdirs: Sequence[Path]
) -> Iterator[str]:
    """Yield a note for each package (category/name) that installs a kernel and cannot be installed with ROOT set."""
    for package in dict.fromkeys(packages):
        if not _is_kernel(package, repos) or set(_FITS) & {*use, *_flags(package, confdirs)}:
            continue
        yield (
            f"{package}: with ROOT set, a kernel package cannot make an initramfs, and fails when it is merged; "
            f"set USE=-initramfs or USE=generic-uki for it in package.use, or install it in a stage4"
        )


def _is_kernel(package: str, repos: Sequence[Repository]) -> bool:
    if not package.startswith("sys-kernel/"):
        return False
    ebuilds = (ebuild for repo in repos for ebuild in (repo.path / package).glob("*.ebuild"))
    return any(_ECLASS.search(read_text(ebuild, errors="replace")) for ebuild in ebuilds)


def _flags(package: str, confdirs: Sequence[Path]) -> Iterator[str]:
    """Yield the USE flags that confdirs set for a package. Versions and slots in atoms do not matter here."""
    for confdir in confdirs:
        for line in lines_of(confdir / "package.use"):
            atom, *flags = line.words
            if package in atom or atom in ("*/*", "sys-kernel/*"):
                yield from flags
