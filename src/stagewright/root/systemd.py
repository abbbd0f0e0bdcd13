"""Units of systemd, enabled without systemctl: the links that [Install] sections of unit files describe.

See systemd.unit(5), MAPPING OF UNIT PROPERTIES and [INSTALL] SECTION OPTIONS. A test compares the result with that of
systemctl(1). Everything here runs inside the root.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.root.files import names_in
from stagewright.root.requirements import MissingRequirement
from stagewright.trees import walk_tree
from stagewright.untrusted import read_root_text

ADMIN = "/etc/systemd/system"
FOLDERS = (ADMIN, "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
SYSTEMCTL = "/usr/bin/systemctl"

_TYPES = ("service", "socket", "target", "timer", "path", "mount", "automount", "swap", "slice", "device", "scope")
_INSTALL = ("WantedBy", "RequiredBy", "UpheldBy", "Alias", "Also", "DefaultInstance")
_FOLDERS = {"WantedBy": "wants", "RequiredBy": "requires", "UpheldBy": "upholds"}


def unit_name(name: str, suffix: str = ".service") -> str:
    """Return the full name of a unit."""
    return name if name.rpartition(".")[2] in _TYPES else name + suffix


def template_of(name: str) -> str | None:
    """Return the template of an instance, such as ``getty@.service`` for ``getty@tty1.service``; else None."""
    prefix, at, rest = name.partition("@")
    instance, _, kind = rest.rpartition(".")
    return f"{prefix}@.{kind}" if at and instance else None


@dataclass(frozen=True)
class Unit:
    """A unit file with the name under which it was requested."""

    name: str
    path: str
    install: dict[str, list[str]] = field(default_factory=dict)

    @property
    def masked(self) -> bool:
        """True if it is masked: systemd cannot start it."""
        return _is_null(self.path) or Path(self.path).stat().st_size == 0

    @property
    def alias_of(self) -> str | None:
        """The real name of the unit, if this name is only a link; else None."""
        real = Path(os.path.realpath(self.path)).name
        return real if not self.masked and real not in (self.name, template_of(self.name)) else None

    @property
    def link_name(self) -> str | None:
        """The name of links to the unit. For a template it is that of the default instance, or None."""
        if "@." not in self.name:
            return self.name
        default = self.install.get("DefaultInstance")
        return self.name.replace("@.", f"@{self.expand(default[-1], self.name)}.", 1) if default else None

    def expand(self, text: str, name: str) -> str:
        """Return a text with the specifiers of an [Install] section replaced."""
        stem, _, _ = name.rpartition(".")
        prefix, _, instance = stem.partition("@")
        values = {"n": name, "N": stem, "p": prefix, "i": instance, "j": prefix.rpartition("-")[2], "%": "%"}
        words = text.split("%")
        result = words[0]
        following = iter(words[1:])
        for word in following:
            result += (values.get(word[0], f"%{word[0]}") + word[1:]) if word else "%" + next(following, "")
        return result

    def links(self) -> Iterator[tuple[str, str]]:
        """Yield the links that enable the unit: path and target."""
        name = self.link_name
        for key, folder in _FOLDERS.items() if name else ():
            for other in self.install.get(key, []):
                yield f"{ADMIN}/{self.expand(other, name or '')}.{folder}/{name}", self.path
        for other in self.install.get("Alias", []):
            yield f"{ADMIN}/{self.expand(other, name or self.name)}", self.path


def find(name: str) -> Unit | None:
    """Return the unit of this name, from the first folder that has it or its template; else None."""
    for wanted in filter(None, (name, template_of(name))):
        for folder in FOLDERS:
            path = f"{folder}/{wanted}"
            if Path(path).exists() or _is_null(path):
                return Unit(name, path, _install(wanted, path))
    return None


def _is_null(path: str) -> bool:
    """Return True if a path links to /dev/null, which does not exist in a root that is not running."""
    return os.path.realpath(path) == os.devnull


def exists(name: str) -> bool:
    """Return True if the unit exists."""
    return find(unit_name(name)) is not None


def all_names() -> list[str]:
    """Return the names of all unit files."""
    names = {name for folder in FOLDERS for name in names_in(folder)}
    return sorted(name for name in names if name.rpartition(".")[2] in _TYPES)


def known(like: str) -> tuple[str, ...]:
    """Return the names of all units, with or without ``.service`` as in ``like``."""
    full = unit_name(like) == like
    return tuple(name if full else name.removesuffix(".service") for name in all_names())


def missing(
    enable: Sequence[str], disable: Sequence[str], mask: Sequence[str], target: str | None
) -> Iterator[MissingRequirement]:
    """Yield settings that the units do not support. The caller has checked that the services exist."""
    for name in enable:
        unit = find(unit_name(name))
        if unit:
            yield from _hindrance(unit)
    for name in disable:
        fixed = [path for folder in FOLDERS[1:] for path in Path(folder).glob(f"*.wants/{unit_name(name)}")]
        if fixed:
            yield MissingRequirement(f"services: {name} cannot be disabled, because {fixed[0]} starts it", "mask it")
    for name in mask:
        full = unit_name(name)
        if find(full) is None:
            yield MissingRequirement(
                f"services.mask: unit {full} not found", "", name, known(name), short=f"unit {full} to mask"
            )
        elif Path(f"{ADMIN}/{full}").is_file() and not Path(f"{ADMIN}/{full}").is_symlink():
            yield MissingRequirement(f"services.mask: {ADMIN}/{full} is a file, not a link", "remove the file instead")
    if target is not None and not exists(unit_name(target, ".target")):
        targets = tuple(name.removesuffix(".target") for name in all_names() if name.endswith(".target"))
        yield MissingRequirement(
            f"services.target: target {target} not found",
            "",
            target.removesuffix(".target"),
            targets,
            short=f"target {target}",
        )


def _hindrance(unit: Unit) -> Iterator[MissingRequirement]:
    if unit.masked:
        yield MissingRequirement(f"services: {unit.name} is masked", f"remove {unit.path}")
    elif unit.alias_of:
        yield MissingRequirement(f"services: {unit.name} is another name of {unit.alias_of}", f"enable {unit.alias_of}")
    elif not any(unit.install.get(key) for key in _INSTALL):
        hint = "other units start it; to start it at boot, add WantedBy= to it in an overlay"
        yield MissingRequirement(f"services: {unit.name} has no [Install] section, so it cannot be enabled", hint)
    elif unit.link_name is None:
        yield MissingRequirement(
            f"services: {unit.name} is a template", f"enable an instance: {unit.name.replace('@.', '@NAME.')}"
        )


def enable(name: str, seen: set[str] | None = None) -> None:
    """Make the links for a unit, and for the units that its [Install] section names in ``Also=``."""
    full = unit_name(name)
    seen = seen if seen is not None else set()
    unit = find(full)
    if unit is None or unit.masked or full in seen:
        return
    seen.add(full)
    for path, target in unit.links():
        if path != target:
            _link(path, target)
    for other in unit.install.get("Also", []):
        enable(unit.expand(other, full), seen)


def disable(name: str, seen: set[str] | None = None) -> None:
    """Remove all links to a unit, of any origin, and those of the units named in ``Also=``."""
    full = unit_name(name)
    seen = seen if seen is not None else set()
    if full in seen:
        return
    seen.add(full)
    unit = find(full)
    for path in _links_below(Path(ADMIN)):
        target = path.readlink()
        if str(target) != os.devnull and _meant(full, path.name, target.name):
            path.unlink()
            with contextlib.suppress(OSError):  # the folder has other links
                path.parent.rmdir()
    for other in unit.install.get("Also", []) if unit else []:
        disable(unit.expand(other, full) if unit else other, seen)


def _meant(unit: str, link: str, target: str) -> bool:
    """Return True if a link belongs to a unit: by its name, by its target, or as an instance of the template."""
    return unit in (link, target) or ("@." in unit and unit == template_of(link))


def mask(name: str) -> None:
    """Mask a unit."""
    disable(name)
    _link(f"{ADMIN}/{unit_name(name)}", os.devnull)


def set_default(target: str) -> None:
    """Set the default target."""
    unit = find(unit_name(target, ".target"))
    assert unit
    _link(f"{ADMIN}/default.target", unit.path)


def _link(path: str, target: str) -> None:
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink():
        place.unlink()
    if not place.exists():
        place.symlink_to(target)


def _links_below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    real = Path(os.path.realpath(folder))
    found = [folder / step.path(file.name) for step in walk_tree(real) for file in step.files if file.is_symlink()]
    return sorted(found)


def _install(name: str, path: str) -> dict[str, list[str]]:
    """Return the [Install] section of a unit file with its drop-ins."""
    values: dict[str, list[str]] = {}
    for part in (*([] if _is_null(path) else [path]), *_drop_ins(name)):
        text = read_root_text(part, errors="replace").replace("\\\n", " ")
        section = ""
        for raw in text.splitlines():
            line = raw.strip()
            key, equals, value = (word.strip() for word in line.partition("="))
            if line.startswith("["):
                section = line
            elif section == "[Install]" and equals and key in _INSTALL:
                values[key] = [*values.get(key, []), *value.split()] if value else []
    return values


def _drop_ins(name: str) -> list[str]:
    """Return the paths of drop-ins, sorted by name. The first folder that has a name decides."""
    found: dict[str, str] = {}
    for folder in FOLDERS:
        inner = f"{folder}/{name}.d"
        for entry in names_in(inner):
            if entry.endswith(".conf"):
                found.setdefault(entry, f"{inner}/{entry}")
    return [found[entry] for entry in sorted(found)]
