"""Ebuilds of a package: the order of their versions (PMS 8, section 3.3), and the best one for an architecture."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from stagewright.lazy_dataclass import dataclass
from stagewright.lazy_pattern import lazy_pattern
from stagewright.untrusted import is_file, read_regular, read_text

_VERSION = lazy_pattern(
    r"(?P<numbers>\d+(?:\.\d+)*)(?P<letter>[a-z]?)(?P<suffixes>(?:_(?:alpha|beta|pre|rc|p)\d*)*)(?:-r(?P<revision>\d+))?",
    re.ASCII,
)
_SUFFIX = lazy_pattern(r"_(alpha|beta|pre|rc|p)(\d*)", re.ASCII)
_ORDER = {"alpha": -4, "beta": -3, "pre": -2, "rc": -1, "p": 1}
_SETTING = r'^[ \t]*{name}=["\']?(?P<value>[^"\'\n]*)'


def compare_versions(left: str, right: str) -> int:
    """Return a number less than 0, 0, or more than 0, if ``left`` is older than, equal to, or newer than ``right``."""
    one, two = _VERSION.fullmatch(left), _VERSION.fullmatch(right)
    if not one or not two:
        return (left > right) - (left < right)
    return (
        _numbers(one["numbers"].split("."), two["numbers"].split("."))
        or _cmp(one["letter"], two["letter"])
        or _suffixes(_SUFFIX.findall(one["suffixes"]), _SUFFIX.findall(two["suffixes"]))
        or _cmp_numbers(one["revision"] or "", two["revision"] or "")
    )


def is_version(text: str) -> bool:
    """True if a text is a version with or without a revision (PMS 8, section 3.2)."""
    return _VERSION.fullmatch(text) is not None


by_version = functools.cmp_to_key(compare_versions)
"""Sort key of a version."""


_LIVE_ECLASSES = lazy_pattern(
    r"^[ \t]*inherit\b.*\b(bzr|cvs|darcs|git-r3|golang-vcs|mercurial|subversion)\b", re.MULTILINE
)


@dataclass(frozen=True)
class Ebuild:
    """One ebuild: its version, slot and sub-slot ("" if the ebuild computes them), keywords, and file.

    ``license``, ``restrict`` and ``flags`` (of IUSE) are None if only Portage can find them out. ``is_cached`` is True
    if the repository has metadata of the ebuild; without it, keywords are a guess. ``is_live`` is True if the ebuild
    fetches its source while it is built (PROPERTIES=live).
    """

    version: str
    slot: str
    keywords: frozenset[str]
    path: Path
    license: str | None = None
    restrict: str | None = None
    subslot: str = ""
    flags: frozenset[str] | None = None
    is_cached: bool = False
    is_live: bool = False
    repository: str = ""


def ebuilds(tree: Path, package: str, repository: str = "") -> Iterator[Ebuild]:
    """Yield the ebuilds of a package (category/name) in a repository, from its metadata cache if it has one.

    ``repository`` is the name of the repository, for :attr:`Ebuild.repository`.
    """
    category, _, name = package.partition("/")
    for path in sorted(_files(tree / package)):
        version = path.stem[len(name) + 1 :]
        if not (path.suffix == ".ebuild" and path.name.startswith(f"{name}-") and is_version(version)):
            continue
        cached = _cached(path, tree / "metadata" / "md5-cache" / category / path.stem)
        yield _of_cache(version, path, cached, repository) if cached else _of_text(version, path, repository)


def _files(folder: Path) -> list[Path]:
    """Return the entries of a folder; none if it is missing. Path.glob would compile a pattern for each package."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _of_cache(version: str, path: Path, values: Mapping[str, str], repository: str) -> Ebuild:
    slot, _, subslot = values.get("SLOT", "").partition("/")
    return Ebuild(
        version=version,
        slot=slot,
        keywords=frozenset(values.get("KEYWORDS", "").split()),
        path=path,
        license=values.get("LICENSE", ""),
        restrict=values.get("RESTRICT", ""),
        subslot=subslot or slot,
        flags=frozenset(flag.lstrip("+-") for flag in values.get("IUSE", "").split()),
        is_cached=True,
        is_live="live" in values.get("PROPERTIES", "").split(),
        repository=repository,
    )


def _of_text(version: str, path: Path, repository: str) -> Ebuild:
    text = read_text(path, errors="replace")
    slot, _, subslot = _slot(text).partition("/")
    return Ebuild(
        version=version,
        slot=slot,
        keywords=frozenset(_setting("KEYWORDS", text).split()),
        path=path,
        license=_certain("LICENSE", text),
        restrict=_certain("RESTRICT", text),
        subslot=subslot or slot,
        is_live="9999" in version and _LIVE_ECLASSES.search(text) is not None,
        repository=repository,
    )


def best_ebuild(found: Sequence[Ebuild], arch: str, *, testing: bool) -> Ebuild | None:
    """Return the newest ebuild with a stable keyword for an architecture; with ``testing``, also with a ~keyword."""
    wanted = {arch, "*", *([f"~{arch}", "~*"] if testing else [])}
    fit = [ebuild for ebuild in found if wanted & ebuild.keywords]
    return max(fit, key=lambda ebuild: by_version(ebuild.version), default=None)


def split_version(cpv: str) -> tuple[str, str]:
    """Return category/name and the version of category/name-version; the version is "" if there is none."""
    found = re.fullmatch(rf"(.+?)-({_VERSION.pattern})", cpv, re.ASCII)
    return (found[1], found[2]) if found else (cpv, "")


def _cached(path: Path, cache: Path) -> Mapping[str, str] | None:
    """Return the metadata of an ebuild, or None if the repository has none, or only that of another text."""
    if not is_file(cache):
        return None
    lines = read_text(cache, errors="replace").splitlines()
    values = {name: value for name, _, value in (line.partition("=") for line in lines)}
    digest = values.get("_md5_")
    fits = digest is None or digest == hashlib.md5(read_regular(path), usedforsecurity=False).hexdigest()
    return values if fits else None


def _slot(text: str) -> str:
    """Return slot and sub-slot, or "" if the ebuild computes them."""
    found = set(re.findall(_SETTING.format(name="SLOT"), text, re.MULTILINE))
    slot = found.pop().strip() if len(found) == 1 else ""
    return "" if "$" in slot else str(slot)


def _setting(name: str, text: str) -> str:
    found = re.findall(_SETTING.format(name=name), text, re.MULTILINE)
    return str(found[-1]).strip() if found else ""


def _certain(name: str, text: str) -> str | None:
    """Return the value of a variable, or None if code of the ebuild or of an eclass can decide on it."""
    found = re.findall(rf"^[ \t]*{name}\+?=.*$", text, re.MULTILINE)
    value = re.fullmatch(rf"{name}=([\"'])([^\"'$`]*)\1\s*", found[0]) if len(found) == 1 else None
    return value[2] if value else None


def _numbers(left: Sequence[str], right: Sequence[str]) -> int:
    for place, (one, two) in enumerate(zip(left, right, strict=False)):
        if place and (one.startswith("0") or two.startswith("0")):
            order = _cmp(one.rstrip("0"), two.rstrip("0"))
        else:
            order = _cmp_numbers(one, two)
        if order:
            return order
    return len(left) - len(right)


def _suffixes(left: Sequence[tuple[str, str]], right: Sequence[tuple[str, str]]) -> int:
    for (kind, number), (other, another) in zip(left, right, strict=False):
        order = _ORDER[kind] - _ORDER[other] or _cmp_numbers(number, another)
        if order:
            return order
    more, sign = (left[len(right) :], 1) if len(left) > len(right) else (right[len(left) :], -1)
    return sign * _ORDER[more[0][0]] if more else 0


def _cmp_numbers(one: str, two: str) -> int:
    """Compare numbers of any count of digits; an empty text is 0."""
    one, two = one.lstrip("0"), two.lstrip("0")
    return len(one) - len(two) or _cmp(one, two)


def _cmp(one: str, two: str) -> int:
    return (one > two) - (one < two)
