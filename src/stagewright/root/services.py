"""Services of a root, for OpenRC and systemd.

``enable`` and ``disable`` work for both. Other settings are for one of them and are rejected if the root lacks it. The
work is done in ``root/openrc.py`` and ``root/systemd.py``.
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
"""The name of a service of OpenRC or systemd."""

Rule = Annotated[
    str, Matching(r"(enable|disable|ignore) +[^\s#]\S*( +[^\s#]\S*)*", 'a rule, such as "enable sshd.service"')
]
"""A line of systemd.preset(5)."""


class Init(enum.StrEnum):
    """Supported init systems."""

    OPENRC = "OpenRC"
    SYSTEMD = "systemd"

    @property
    def settings(self) -> tuple[str, ...]:
        """Settings that only this init system has."""
        return ("runlevels",) if self is Init.OPENRC else ("mask", "presets", "preset_all", "target")

    def is_here(self) -> bool:
        """Return True if the root that this process is in has this init system."""
        if self is Init.SYSTEMD:
            return any(Path(f"{folder}/systemd/systemd").exists() for folder in ("/usr/lib", "/lib"))
        programs = ("/sbin/openrc", "/usr/sbin/openrc", "/bin/openrc", "/usr/bin/openrc")
        return any(map(os.path.exists, programs)) or (Path("/etc/init.d").is_dir() and Path("/etc/runlevels").is_dir())


class Services(Section):
    """Services that run at boot, and services that do not."""

    enable: list[Name] = []
    """Services to start: units of systemd (`.service` is optional), or scripts for OpenRC's runlevel default."""
    disable: list[Name] = []
    """Services not to start. Links of systemd's [Install] sections and of OpenRC's runlevels are removed."""
    runlevels: dict[Name, list[Name]] = {}
    """OpenRC only: services to add to runlevels such as boot or default."""
    mask: list[Name] = []
    """systemd only: units that cannot be started."""
    presets: list[Rule] = []
    """systemd only: rules as in systemd.preset(5). `enable` and `disable` take precedence. Implies `preset_all`."""
    preset_all: bool = False
    """systemd only: enable and disable every unit by the presets, like `systemctl preset-all`."""
    target: Name | None = None
    """systemd only: the default target, such as multi-user or graphical."""

    @model_validator(mode="after")
    def _no_contradictions(self) -> Services:
        on = {*self.enable, *(name for names in self.runlevels.values() for name in names)}
        for name in [*self.disable, *self.mask]:
            if name in on or (name in self.disable and name in self.mask):
                facts = {"name": name, "hint": "list it once; a masked unit is also disabled"}
                raise PydanticCustomError("contradiction", "{name} is listed in two contradicting settings", facts)
        return self

    @property
    def wanted(self) -> bool:
        """True if any setting is set."""
        return self != Services()


def missing_services(settings: Services, root: Root) -> list[MissingRequirement]:
    """Return the settings that the root does not support."""
    return inside(root.path, _missing_inside, settings) if settings.wanted else []


def _missing_inside(settings: Services) -> list[MissingRequirement]:
    return list(_all_missing(settings))


def _all_missing(settings: Services) -> Iterator[MissingRequirement]:
    here = _here()
    if not here:
        yield MissingRequirement(
            "services: the root has no init system",
            "install sys-apps/openrc or sys-apps/systemd in it",
            short="an init system",
        )
        return
    for init in Init:
        if init not in here:
            asked = [name for name in init.settings if getattr(settings, name)]
            hint = f"the root has {' and '.join(here)}: use enable and disable, or {', '.join(here[0].settings)}"
            yield from (
                MissingRequirement(
                    f"services.{name} is for {init}, which the root does not have", hint, short=f"{init} for {name}"
                )
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
    """Yield a service that no init system of the root has."""
    exists = {Init.SYSTEMD: systemd.exists, Init.OPENRC: openrc.exists}
    if not any(exists[init](name) for init in here):
        known = {Init.SYSTEMD: systemd.known(name), Init.OPENRC: openrc.known()}
        names = tuple(dict.fromkeys(word for init in here for word in known[init]))
        hint = "add the package that has it, or put it into an overlay"
        like = name if Init.SYSTEMD in here else name.removesuffix(".service")
        message = f"services: {' and '.join(here)} has no service {name}"
        yield MissingRequirement(message, hint, like, names, overlay=_files_of(name), short=f"service {name}")


def _files_of(name: str) -> tuple[str, ...]:
    """Return the paths of files that make a service, for both init systems."""
    full = systemd.unit_name(name)
    template = systemd.template_of(full)
    units = [full, template] if template else [full]
    folders = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system", "usr/local/lib/systemd/system")
    scripts = (f"etc/init.d/{name}", f"etc/init.d/{name.removesuffix('.service')}")
    return (*(f"{folder}/{unit}" for folder in folders for unit in units), *scripts)


def _here() -> list[Init]:
    return [init for init in Init if init.is_here()]


def apply_services(settings: Services, root: Root, epoch: int) -> None:
    """Apply the settings, which were checked before."""
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
    """Run the root's systemctl(1), which does not need a running systemd in offline mode.

    preset-all is not run by it: version 252 fails if a unit is masked, and most systems have masked units.
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
