"""Installed packages, as recorded in Portage's database (/var/db/pkg; PMS section 13; dbapi/vartree of Portage)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from stagewright.chroot import inside
from stagewright.lazy_dataclass import dataclass
from stagewright.lazy_pattern import lazy_pattern
from stagewright.root.files import is_of_build
from stagewright.untrusted import number, read_root_text

VDB = "var/db/pkg"

_TIMED = lazy_pattern(r"^((?:obj .* [0-9a-f]{32}|sym .* -> .*) )(\d+)$", re.MULTILINE)
_BUILD_TIME = lazy_pattern(r"^(BUILD_TIME=)(\d+)$", re.MULTILINE)
_COUNTER = lazy_pattern(r"^(COUNTER=)(\d+)$", re.MULTILINE)
_MTIME = lazy_pattern(r"^#dir_mtime=\d+$", re.MULTILINE)
_NANO = 1_000_000_000

_INSTALLED = lazy_pattern(
    r"^(?:obj (?P<file>.*) (?P<md5>[0-9a-f]+) \d+|sym (?P<link>.*) -> (?P<target>.*) \d+|\w+ (?P<other>.*))$",
    re.MULTILINE,
)
"""A line of CONTENTS."""


@dataclass(frozen=True)
class Package:
    """One installed package. ``size`` is in bytes, ``use`` are the enabled flags.

    Portage has evaluated ``license``, ``restrict`` and ``properties`` with these flags; alternatives are left.
    """

    name: str  # category/package-version
    slot: str
    repository: str
    use: tuple[str, ...]
    license: str
    size: int
    restrict: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()


def installed_packages(root: Path) -> list[Package]:
    """Return the packages in a root, sorted by name."""
    return [
        Package(
            name=f"{folder.parent.name}/{folder.name}",
            slot=_read(folder / "SLOT"),
            repository=_read(folder / "repository"),
            use=tuple(_read(folder / "USE").split()),
            license=_read(folder / "LICENSE"),
            size=number(_read(folder / "SIZE")) or 0,
            restrict=tuple(_read(folder / "RESTRICT").split()),
            properties=tuple(_read(folder / "PROPERTIES").split()),
        )
        for folder in _entries(root)
    ]


def read_entry(root: Path, package: str, entry: str) -> str:
    """Return an entry, for example BUILD_ID, of an installed package (category/package-version); "" if missing."""
    return _read(root / VDB / package / entry)


def read_entries(root: Path, packages: Sequence[str], entry: str) -> dict[str, str]:
    """Return an entry of several packages, by package."""
    return {package: read_entry(root, package, entry) for package in packages}


def recorded_files(root: Path, packages: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the recorded files of packages (category/name-version), by package and path.

    The value of a path is the MD5 digest of a file, the target of a link, or "" for anything else.
    """
    return {name: _contents(root / VDB / name / "CONTENTS") for name in packages}


def _contents(record: Path) -> dict[str, str]:
    found = _INSTALLED.finditer(read_root_text(record, errors="surrogateescape")) if record.exists() else ()
    return {line["file"] or line["link"] or line["other"]: line["md5"] or line["target"] or "" for line in found}


def packages_of(root: Path, remembered: Iterable[Sequence[Package]] = ()) -> list[Package]:
    """Return the packages of a root by its records, or else the first of the remembered lists that is not empty."""
    found = inside(root, installed_packages, Path("/"))
    return found or list(next(filter(None, remembered), ()))


def packages_as_data(packages: Sequence[Package]) -> list[dict[str, Any]]:
    """Return packages as JSON-able data."""
    return [{name: _plain(value) for name, value in asdict(package).items()} for package in packages]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def packages_from_data(packages: Sequence[Mapping[str, Any]]) -> list[Package]:
    """Return the packages in data from :func:`packages_as_data`."""

    def frozen(one: Mapping[str, Any]) -> dict[str, Any]:
        return {name: tuple(value) if isinstance(value, list) else value for name, value in one.items()}

    return [Package(**frozen(one)) for one in packages]


def clamp_records(root: Path, epoch: int) -> None:
    """Clamp the file times and the build times in the records to ``epoch`` (seconds since 1970).

    The caller clamps the files themselves. Portage does not unmerge a file whose time differs from its record.
    """

    def clamped(match: re.Match[str]) -> str:
        return match[1] + _clamped(match[2], epoch)

    mtime = f"#dir_mtime={epoch * _NANO}"
    for folder in _entries(root):
        _rewrite(folder / "CONTENTS", lambda text: _TIMED.sub(clamped, text))
        _rewrite(folder / "BUILD_TIME", lambda text: _clamped(text.strip(), epoch) + "\n")
        _rewrite(folder / "metadata", lambda text: _MTIME.sub(mtime, _BUILD_TIME.sub(clamped, text)))


def record_digests(root: Path, digests: Mapping[str, str]) -> None:
    """Set the recorded MD5 digests (BINPKGMD5) of the binary packages from which packages were installed.

    Portage has recorded those of the files that it wrote, which have the times of the build.
    """
    for package, digest in digests.items():
        _rewrite(root / VDB / package / "BINPKGMD5", _instead(f"{digest}\n"))


def _instead(text: str) -> Callable[[str], str]:
    return lambda _: text


def order_records(root: Path) -> None:
    """Give the packages in the records of a layer their numbers (COUNTER) in the order of their names.

    Portage counts merges. Packages that are merged side by side end in any order, and the numbers would show it. The
    numbers of the layer stay as a set, so they are above those of the layers below. If libraries are preserved, all
    numbers stay, because Portage's registry of these libraries names packages by them.
    """
    registry = root / "var/lib/portage/preserved_libs_registry"
    if registry.exists() and read_root_text(registry).strip() not in ("", "{}"):
        return
    numbers = {folder: number(_read(folder / "COUNTER")) for folder in _entries(root)}
    known = {folder: found for folder, found in numbers.items() if found is not None}
    for folder, new in zip(known, sorted(known.values()), strict=True):
        _rewrite(folder / "COUNTER", _instead(str(new)))
        _rewrite(folder / "metadata", partial(_COUNTER.sub, rf"\g<1>{new}"))


def _rewrite(path: Path, change: Callable[[str], str]) -> None:
    if path.exists():
        path.write_text(change(read_root_text(path)), encoding="utf-8")


def _clamped(seconds: str, epoch: int) -> str:
    time = number(seconds) or 0
    return str(epoch if time > epoch or is_of_build(time) else time)


def _entries(root: Path) -> list[Path]:
    return sorted(folder for folder in (root / VDB).glob("*/*") if (folder / "PF").exists())


def _read(path: Path) -> str:
    try:
        return read_root_text(path).strip()
    except FileNotFoundError:
        return ""
