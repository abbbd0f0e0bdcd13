"""Shared steps of stages that make a whole system: compiler, configuration, time zone, locale, world file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from stagewright.chroot import inside
from stagewright.kinds.common.context import StageContext
from stagewright.kinds.common.packages import PackageStage
from stagewright.kinds.common.work import Work
from stagewright.portage.confdir import make_conf
from stagewright.portage.confdir_merge import shipped_confdir
from stagewright.portage.repositories import profile_link
from stagewright.project.fields import Matching, Section
from stagewright.project.names import NAME
from stagewright.root import files
from stagewright.root.local import LOCALE_GEN, has_program

if TYPE_CHECKING:
    from stagewright.portage.emerge import Portage
    from stagewright.root.root import Root

TOOLS = ("gcc", "binutils")
"""Parts of the toolchain that are selected: each has a program NAME-config and profiles in /etc/env.d/NAME."""

FACTORY = "/usr/share/zoneinfo/Factory"
LOCALTIME = "/etc/localtime"
ENV, LOCALE = "/etc/env.d", "/etc/env.d/02locale"
MAKE_CONF = "/etc/portage/make.conf"
WORLD = ("/var/lib/portage/world", "/var/lib/portage/world_sets")


PORTAGE = "/etc/portage"
BINREPOS = "/etc/portage/binrepos.conf/gentoo.conf"
SIGNED_PACKAGES = "binpkg-request-signature"
"""The word of FEATURES with which Portage refuses unsigned binary packages of remote hosts (make.conf(5))."""

_MESSAGES = """
# Messages of builds are in English. Please keep this setting for reports of bugs (Gentoo's bug 478382).
LC_MESSAGES=C.UTF-8
"""


class BinrepoSettings(Section):
    """The binary package host that a system names to its users."""

    binrepo: (
        Annotated[str, Matching(r"https?://[^\s/@]+(/[^\s@]*)?", "http:// or https://, without a password")] | None
    ) = Field(default=None, exclude_if=lambda value: value is None)
    """The address of binary packages in the system's binrepos.conf. Builds do not use it."""
    binrepo_signed: bool = Field(default=True, exclude_if=lambda value: value)
    """With `binrepo`: Portage of the system accepts only packages that are signed by a key in its keyring, by default
    Gentoo's release keys (getuto)."""
    ship_confdir: bool = Field(default=False, exclude_if=lambda value: not value)
    """Also leave the files of `confdir` in /etc/portage of the system, except make.conf, repos.conf and patches."""
    confdir_prefix: Annotated[str, Field(pattern=NAME)] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )
    """The name of files and folders in package.use, package.env, env and so on that are for the build only."""


def ship_configuration(stage: PackageStage, root: Root, portage: Portage, work: Work[StageContext]) -> None:
    """Write the profile link and make.conf of a system, so that it builds packages in the way it was built.

    A stage without settings leaves the make.conf of its root unchanged. Files of confdirs are for the build only,
    unless the stage has ``ship_confdir``.
    """
    if isinstance(stage, BinrepoSettings) and stage.binrepo:
        files.write_file(root.path, BINREPOS, binrepos_conf(stage), epoch=work.epoch)
    if isinstance(stage, BinrepoSettings) and stage.ship_confdir:
        confdirs = [work.files[name] for name in stage.confdir]
        shipped = shipped_confdir(work.new_folder("shipped"), confdirs, stage.confdir_prefix)
        files.copy_in(root.path, shipped, epoch=work.epoch, target=PORTAGE)
    if stage.profile:
        link = profile_link(stage.profile, portage.repos)
        files.make_link(root.path, "/etc/portage/make.profile", f"../..{link}", epoch=work.epoch)
    lists = {name: " ".join(words) for name, words in stage.lists.items()}
    settings = {**stage.flags, **lists, **stage.make_conf}
    if settings or not files.exists(root.path, MAKE_CONF):
        text = "# These settings were used to build this system; see make.conf(5).\n"
        text += make_conf(settings)
        if "LC_MESSAGES" not in settings:
            text += _MESSAGES
        files.write_file(root.path, MAKE_CONF, text, epoch=work.epoch)
    if isinstance(stage, BinrepoSettings) and stage.binrepo and stage.binrepo_signed:
        _request_signatures(root, work)


def binrepos_conf(settings: BinrepoSettings) -> str:
    """Return the binrepos.conf(5) of a system, like that of Gentoo's stages."""
    signed = "true" if settings.binrepo_signed else "false"
    lines = ["[gentoo]", "priority = 1", f"sync-uri = {settings.binrepo}"]
    return "\n".join([*lines, "location = /var/cache/binhost/gentoo", f"verify-signature = {signed}", ""])


def _request_signatures(root: Root, work: Work[StageContext]) -> None:
    """Add binpkg-request-signature to FEATURES of a system, unless its make.conf has it. It can be a folder."""
    place = MAKE_CONF
    if inside(root.path, os.path.isdir, MAKE_CONF):
        place = f"{MAKE_CONF}/binhost"
    text = files.read_file(root.path, place) or ""
    if SIGNED_PACKAGES not in text:
        text = text if not text or text.endswith("\n") else f"{text}\n"
        files.write_file(root.path, place, f'{text}FEATURES="${{FEATURES}} {SIGNED_PACKAGES}"\n', epoch=work.epoch)


def select_toolchain(root: Root, work: Work[StageContext]) -> None:
    """Select a compiler and a linker, if the root has the programs for this and no existing one is selected.

    Portage does not select them when it installs packages with ROOT=; see gcc-config(8).
    """
    for tool in TOOLS:
        config, profiles = f"{tool}-config", inside(root.path, _profiles, f"/etc/env.d/{tool}")
        if not profiles or not files.exists(root.path, f"/usr/bin/{config}"):
            continue
        if root.run(config, "--get-current-profile", check=False).code:
            root.run(config, profiles[-1])
            work.notice(f"{config}: {profiles[-1]}")


def _profiles(folder: str) -> list[str]:
    """Return the compilers or linkers of a root, the newest last."""
    names = [path.name for path in Path(folder).glob("*") if not path.name.startswith(("config-", "."))]
    return sorted(names, key=lambda name: [(part.isdigit(), part.zfill(9)) for part in re.split(r"(\d+)", name)])


def set_time_zone_and_locale(root: Root, work: Work[StageContext]) -> None:
    """Set the time zone Factory and the locale C.UTF-8 in a new root, as in Gentoo's stages."""
    if files.exists(root.path, FACTORY) and not files.exists(root.path, LOCALTIME):
        files.make_link(root.path, LOCALTIME, f"..{FACTORY}", epoch=work.epoch)
    if has_program(root, "locale-gen"):
        files.write_file(root.path, LOCALE_GEN, "C.UTF-8 UTF-8\n", epoch=work.epoch)
        root.run("locale-gen")
    if files.exists(root.path, ENV) and not files.exists(root.path, LOCALE):
        files.write_file(root.path, LOCALE, "LANG=C.UTF-8\n", epoch=work.epoch)


def empty_world(root: Root, work: Work[StageContext]) -> None:
    """Empty the world file: the system then has the packages of its profile, and no others that users asked for."""
    for path in WORLD:
        if files.exists(root.path, path):
            files.write_file(root.path, path, "", epoch=work.epoch)
