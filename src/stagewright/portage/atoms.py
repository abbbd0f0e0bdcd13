"""Package atoms: what they say of an ebuild, and which ebuilds they match (PMS 8, section 8.3; portage(5)).

Files of /etc/portage and of profiles also have atoms with ``*`` in place of a category or a name, which emerge does not
take.
"""

from __future__ import annotations

import fnmatch
import functools
import re

from stagewright.lazy_dataclass import dataclass
from stagewright.lazy_pattern import lazy_pattern
from stagewright.portage.ebuilds import Ebuild, compare_versions, is_version

_FORM = lazy_pattern(
    r"(?P<operator>[<>]=?|=|~)?(?P<category>[\w*][\w+.*-]*)/(?P<name>[\w*][\w+*-]*(?:\.[\w+*.-]*)?)"
    r"(?::(?P<slot>[^:\[]*))?(?:::(?P<repository>[\w*-]+))?(?:\[(?P<flags>[^\]]*)\])?",
    re.ASCII,
)
_FLAG = lazy_pattern(r"[-!]?(?P<name>[A-Za-z0-9][\w+@-]*)(?P<default>\([+-]\))?[=?]?", re.ASCII)
_REVISION = lazy_pattern(r"-r\d+$")


@dataclass(frozen=True)
class PackageAtom:
    """A package atom. Empty parts do not restrict it.

    ``package`` is category/name, where each may have wildcards. ``flags`` are the USE flags that an ebuild must have:
    those with a default in the atom, as in ``flag(+)``, are left out.
    """

    text: str
    package: str
    operator: str = ""
    version: str = ""
    is_prefix: bool = False  # the version ends in ``*``
    slot: str = ""
    subslot: str = ""
    repository: str = ""
    flags: tuple[str, ...] = ()

    @property
    def has_wildcard(self) -> bool:
        """True if the atom matches packages of several names."""
        return "*" in self.package

    def matches(self, package: str, ebuild: Ebuild, *, unknown: bool = True) -> bool:
        """True if the atom matches an ebuild of a package (category/name); ``unknown`` if only its slot is unknown."""
        return (
            self.matches_name(package)
            and (not self.operator or self.matches_version(ebuild.version))
            and (not self.repository or fnmatch.fnmatchcase(ebuild.repository, self.repository))
            and self.matches_slot(ebuild, unknown=unknown)
        )

    def matches_name(self, package: str) -> bool:
        """True if the atom matches a package of this name (category/name)."""
        return package == self.package or (self.has_wildcard and fnmatch.fnmatchcase(package, self.package))

    def matches_slot(self, ebuild: Ebuild, *, unknown: bool = True) -> bool:
        """True if the ebuild has the slot and the sub-slot of the atom; ``unknown`` if only Portage knows them."""
        if not self.slot or not ebuild.slot:
            return unknown or not self.slot
        return self.slot == ebuild.slot and (not self.subslot or self.subslot == ebuild.subslot)

    def matches_version(self, version: str) -> bool:
        """True if a version is what the operator of the atom asks for."""
        if self.is_prefix:
            return _starts_with(version, self.version)
        if self.operator == "~":
            return compare_versions(_REVISION.sub("", version), _REVISION.sub("", self.version)) == 0
        order = compare_versions(version, self.version)
        return {"=": order == 0, ">": order > 0, ">=": order >= 0, "<": order < 0, "<=": order <= 0}[self.operator]


@functools.lru_cache(maxsize=1 << 14)
def parse_atom(text: str) -> PackageAtom | None:
    """Return the atom that a text is, or None for a set, a blocker or anything else."""
    found = _FORM.fullmatch(text)
    if not found:
        return None
    name, version, is_prefix = found["name"], "", False
    if found["operator"]:
        is_prefix = found["operator"] == "=" and name.endswith("*")
        split = _split(name.removesuffix("*") if is_prefix else name)
        if split is None:
            return None
        name, version = split
    slot, _, subslot = (found["slot"] or "").rstrip("=*").partition("/")
    return PackageAtom(
        text,
        f"{found['category']}/{name}",
        found["operator"] or "",
        version,
        is_prefix,
        slot,
        subslot,
        found["repository"] or "",
        _required_flags(found["flags"] or ""),
    )


def _split(text: str) -> tuple[str, str] | None:
    """Return name and version of name-version; None if there is no version."""
    for found in re.finditer("-", text):
        version = text[found.end() :]
        if is_version(version):
            return text[: found.start()], version
    return None


def _required_flags(text: str) -> tuple[str, ...]:
    found = (_FLAG.fullmatch(word.strip()) for word in text.split(","))
    return tuple(flag["name"] for flag in found if flag and not flag["default"])


def _starts_with(version: str, prefix: str) -> bool:
    """True if a version begins with the components of another: 1.2 and 1.2.3 begin with 1.2, but 1.20 does not."""
    rest = version[len(prefix) :]
    return version.startswith(prefix) and not (rest[:1].isdigit() and prefix[-1:].isdigit())
