"""Services of a root, for whichever init it has.

``enable`` and ``disable`` mean the same for both; the rest is for one of them and refused where that one is missing.
The work is in ``root/openrc.py`` and ``root/systemd.py``.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from stagewright.chroot import inside
from stagewright.project.fields import Matching, Section
from stagewright.root import openrc, presets, systemd
from stagewright.root.requirements import MissingRequirement
from stagewright.root.root import Root

Name = Annotated[str, Matching(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]*", "a service, such as sshd or getty@tty1.service")]
"""A service as OpenRC or systemd calls it."""

Rule = Annotated[
    str, Matching(r"(enable|disable|ignore) +[^\s#]\S*( +[^\s#]\S*)*", 'a rule, such as "enable sshd.service"')
]
"""A line of systemd.preset(5)."""


class Init(enum.StrEnum):
    """The init systems that are known."""

    OPENRC = "OpenRC"
    SYSTEMD = "systemd"

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings that only this one has."""
        return ("runlevels",) if self is Init.OPENRC else ("mask", "presets", "preset_all", "target")

    def is_here(self) -> bool:
        """Whether the root that this process is in has it."""
        if self is Init.SYSTEMD:
            return any(Path(f"{folder}/systemd/systemd").exists() for folder in ("/usr/lib", "/lib"))
        programs = ("/sbin/openrc", "/usr/sbin/openrc", "/bin/openrc", "/usr/bin/openrc")
        return any(map(os.path.exists, programs)) or (Path("/etc/init.d").is_dir() and Path("/etc/runlevels").is_dir())


class Services(Section):
    """What runs at boot, and what does not."""

    enable: list[Name] = []
    """Services to start: units of systemd (`.service` may be left out), or scripts for OpenRC's runlevel default."""
    disable: list[Name] = []
    """Services not to start: what systemd's [Install] sections made is removed; OpenRC's runlevels forget them."""
    runlevels: dict[Name, list[Name]] = {}
    """OpenRC only: services to add to runlevels such as boot or default."""
    mask: list[Name] = []
    """systemd only: units that nothing may start."""
    presets: list[Rule] = []
    """systemd only: rules as in systemd.preset(5), after those that enable and disable make; they imply preset_all."""
    preset_all: bool = False
    """systemd only: enable and disable every unit as the presets say, like `systemctl preset-all`."""
    target: Name | None = None
    """systemd only: what to boot into, such as multi-user or graphical."""

    @model_validator(mode="after")
    def _no_contradictions(self) -> Services:
        on = {*self.enable, *(name for names in self.runlevels.values() for name in names)}
        for name in [*self.disable, *self.mask]:
            if name in on or (name in self.disable and name in self.mask):
                facts = {"name": name, "hint": "a masked unit is disabled, too: name it once"}
                raise PydanticCustomError("contradiction", "{name} is listed in two ways", facts)
        return self

    @property
    def wanted(self) -> bool:
        """Whether anything is asked for."""
        return self != Services()


def missing_service(settings: Services) -> list[MissingRequirement]:
    """What cannot be done in the root that this process is in."""
    return list(_lacks(settings)) if settings.wanted else []


def _lacks(settings: Services) -> Iterator[MissingRequirement]:
    here = _here()
    if not here:
        yield MissingRequirement(
            "services: the root has no init system", "install sys-apps/openrc or sys-apps/systemd in it"
        )
        return
    for init in Init:
        if init not in here:
            asked = [name for name in init.settings if getattr(settings, name)]
            hint = f"the root has {' and '.join(here)}: use enable and disable, or {', '.join(here[0].settings)}"
            yield from (
                MissingRequirement(f"services.{name} is for {init}, which the root does not have", hint)
                for name in asked
            )
    for name in (*settings.enable, *settings.disable):
        yield from _missing(name, here)
    if Init.SYSTEMD in here:
        units = [name for name in settings.enable if systemd.exists(name) or here == [Init.SYSTEMD]]
        yield from systemd.missing(units, settings.disable, settings.mask, settings.target)
    if Init.OPENRC in here:
        yield from openrc.missing(settings.runlevels)


def _missing(name: str, here: list[Init]) -> Iterator[MissingRequirement]:
    """A service that none of the init systems knows."""
    exists = {Init.SYSTEMD: systemd.exists, Init.OPENRC: openrc.exists}
    if not any(exists[init](name) for init in here):
        known = {Init.SYSTEMD: systemd.known(name), Init.OPENRC: openrc.known()}
        names = tuple(dict.fromkeys(word for init in here for word in known[init]))
        hint = "add the package that brings it, or put it into an overlay"
        like = name if Init.SYSTEMD in here else name.removesuffix(".service")
        yield MissingRequirement(f"services: {' and '.join(here)} has no service {name}", hint, like, names)


def _here() -> list[Init]:
    return [init for init in Init if init.is_here()]


def apply_services(settings: Services, root: Root, epoch: int) -> None:
    """Carry it out; what could not be has been refused before."""
    here = inside(root.path, _here) if settings.wanted else []
    if Init.OPENRC in here:
        inside(root.path, openrc.apply, settings.enable, settings.disable, settings.runlevels, epoch)
    if Init.SYSTEMD in here:
        names = [name for name in settings.enable if inside(root.path, systemd.exists, name)]
        gone = [name for name in settings.disable if inside(root.path, systemd.exists, name)]
        inside(root.path, presets.write, names, gone, settings.presets, epoch)
        if inside(root.path, os.path.exists, systemd.SYSTEMCTL):
            _by_systemctl(settings, root, names, gone)
        else:
            inside(root.path, _by_ourselves, settings, names, gone)


def _by_systemctl(settings: Services, root: Root, names: list[str], gone: list[str]) -> None:
    """Let the root's own systemctl(1) do it, which offline needs no running systemd.

    But not preset-all: that of version 252 fails when some unit is masked, as several are in most systems.
    """

    def systemctl(*words: str) -> None:
        if words[1:]:
            root.run(systemd.SYSTEMCTL, "--root=/", "--no-reload", *words, env={"SYSTEMD_OFFLINE": "1"})

    if settings.presets or settings.preset_all:
        inside(root.path, presets.apply_all)
    systemctl("disable", *map(systemd.unit_name, [*gone, *settings.mask]))
    systemctl("enable", *map(systemd.unit_name, names))
    systemctl("mask", *map(systemd.unit_name, settings.mask))
    if settings.target:
        systemctl("set-default", systemd.unit_name(settings.target, ".target"))


def _by_ourselves(settings: Services, names: list[str], gone: list[str]) -> None:
    if settings.presets or settings.preset_all:
        presets.apply_all()
    for name in gone:
        systemd.disable(name)
    for name in names:
        systemd.enable(name)
    for name in settings.mask:
        systemd.mask(name)
    if settings.target:
        systemd.set_default(settings.target)
