"""Time zone, locales and keyboard of a root, in the files that its init system and its libc read.

Sources: the chapters on time zone and locales of the Gentoo Handbook; locale.gen(5), locale.conf(5), vconsole.conf(5).
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from stagewright.chroot import inside
from stagewright.project.fields import Matching, Section
from stagewright.root import files
from stagewright.root.files import names_in
from stagewright.root.requirements import MissingRequirement, raise_if_missing
from stagewright.root.sourced import assignments, with_assignments
from stagewright.trees import files_below
from stagewright.untrusted import read_root_text

if TYPE_CHECKING:
    from stagewright.root.root import Root

ZONES = "/usr/share/zoneinfo"
KEYMAPS = ("/usr/share/keymaps", "/usr/share/kbd/keymaps")
LOCALE_GEN = "/etc/locale.gen"
PROGRAMS = ("/usr/bin", "/usr/sbin", "/bin", "/sbin")

_ALWAYS = ("C", "POSIX", "C.UTF-8", "C.utf8")

LocaleName = Annotated[
    str, Matching(r"[A-Za-z][A-Za-z_]*(\.[A-Za-z0-9-]+)?(@[A-Za-z0-9]+)?", "a locale, such as de_DE.UTF-8")
]
"""A locale, such as de_DE.UTF-8."""

_Zone = Annotated[str, Matching(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", "a time zone, such as Europe/Berlin")]
_Keymap = Annotated[str, Matching(r"[A-Za-z0-9_.+-]+", "a keymap, such as de-latin1")]


class Local(Section):
    """Time zone, languages and keyboard of a system."""

    timezone: _Zone | None = None
    """The time zone, such as Europe/Berlin: a file of the root's /usr/share/zoneinfo."""
    locale: LocaleName | None = None
    """The language of the system, such as de_DE.UTF-8. locale-gen of the root generates it, if present."""
    locales: list[LocaleName] = []
    """Additional locales."""
    keymap: _Keymap | None = None
    """The keyboard of the console, such as de-latin1-nodeadkeys: a file of the root's keymaps."""


def missing_local_settings(settings: Local, root: Root) -> list[MissingRequirement]:
    """Return the settings that the root does not support."""
    missing = inside(root.path, _missing_inside, settings)
    if not has_program(root, "locale-gen"):
        for name in _missing_locales(settings, root):
            hint = "add the package that has locale-gen or the locale"
            missing.append(MissingRequirement(f"locale: the root does not have {name}", hint, short=f"locale {name}"))
    return missing


def _missing_inside(settings: Local) -> list[MissingRequirement]:
    missing = []
    if settings.timezone and not Path(f"{ZONES}/{settings.timezone}").is_file():
        hint = "" if Path(ZONES).is_dir() else "the root has no time zones: add sys-libs/timezone-data"
        zones = tuple(path.removeprefix(f"{ZONES}/") for path in _files_below(ZONES))
        message = f"timezone: {ZONES}/{settings.timezone} not found"
        missing.append(
            MissingRequirement(
                message,
                hint,
                settings.timezone,
                zones,
                owner="sys-libs/timezone-data" if zones else "",
                overlay=(f"{ZONES[1:]}/{settings.timezone}",),
                short=f"time zone {settings.timezone}",
            )
        )
    if settings.keymap:
        found = [Path(path).name for folder in KEYMAPS for path in _files_below(folder)]
        keymaps = tuple(sorted({name.partition(".map")[0] for name in found if ".map" in name}))
        if settings.keymap not in keymaps:
            hint = "" if keymaps else "the root has no keymaps: add sys-apps/kbd"
            missing.append(
                MissingRequirement(
                    f"keymap: {settings.keymap} not found",
                    hint,
                    settings.keymap,
                    keymaps,
                    owner="sys-apps/kbd" if keymaps else "",
                    overlay=tuple(f"{folder[1:]}/**/{settings.keymap}.map*" for folder in KEYMAPS),
                    short=f"keymap {settings.keymap}",
                )
            )
    supported = _supported()
    if supported and _program("locale-gen"):
        known = tuple(line.split()[0] for line in supported)
        for name in _wanted(settings):
            if name not in known:
                message, overlay = f"locale: glibc does not have {name}", ("usr/share/i18n/SUPPORTED",)
                missing.append(
                    MissingRequirement(
                        message, "", name, known, owner="sys-libs/glibc", overlay=overlay, short=f"locale {name}"
                    )
                )
    return missing


def apply_local(settings: Local, root: Root, epoch: int) -> None:
    """Write the files, and generate missing locales."""
    write = functools.partial(files.write_file, root.path, epoch=epoch)
    if settings.timezone:
        files.make_link(root.path, "/etc/localtime", f"..{ZONES}/{settings.timezone}", epoch=epoch)
        write("/etc/timezone", f"{settings.timezone}\n")
    if _wanted(settings) and has_program(root, "locale-gen"):
        write(LOCALE_GEN, inside(root.path, _locale_gen, _wanted(settings)))
        if _missing_locales(settings, root):
            root.run("locale-gen")
            raise_if_missing(
                MissingRequirement(f"locale: locale-gen did not generate {name}")
                for name in _missing_locales(settings, root)
            )
    if settings.locale:
        language = {"LANG": settings.locale}
        write("/etc/locale.conf", with_assignments(files.read_file(root.path, "/etc/locale.conf"), language))
        if files.exists(root.path, "/etc/env.d"):
            write("/etc/env.d/02locale", assignments(language))
            if has_program(root, "env-update"):
                root.run("env-update", "--no-ldconfig")
    if settings.keymap:
        old = files.read_file(root.path, "/etc/vconsole.conf")
        write("/etc/vconsole.conf", with_assignments(old, {"KEYMAP": settings.keymap}))
        old = files.read_file(root.path, "/etc/conf.d/keymaps")
        if old is not None:
            write("/etc/conf.d/keymaps", with_assignments(old, {"keymap": settings.keymap}))


def _wanted(settings: Local) -> list[str]:
    names = dict.fromkeys([*([settings.locale] if settings.locale else []), *settings.locales])
    return [name for name in names if name not in _ALWAYS]


def _missing_locales(settings: Local, root: Root) -> list[str]:
    """Return the wanted locales that programs of the root cannot use yet."""
    wanted = _wanted(settings)
    if not wanted:
        return []
    there = set(map(_plain, inside(root.path, _locale_files)))
    if has_program(root, "locale"):
        there.update(map(_plain, root.ask("locale", "-a", check=False).splitlines()))
    return [name for name in wanted if _plain(name) not in there]


def _plain(name: str) -> str:
    """Return the name of a locale as glibc compares it: de_DE.UTF-8 and de_DE.utf8 are equal."""
    head, dot, rest = name.partition(".")
    codeset, at, modifier = rest.partition("@")
    return f"{head}{dot}{re.sub('[^a-z0-9]', '', codeset.lower())}{at}{modifier}"


def _locale_files() -> list[str]:
    """Return the locales that are separate folders or files: those of musl, and glibc's outside its archive."""
    folders = ("/usr/lib/locale", "/usr/share/i18n/locales/musl")
    return [name for folder in folders for name in names_in(folder)]


def _supported() -> list[str]:
    """Return the lines of glibc's list of locales and character sets."""
    path = Path("/usr/share/i18n/SUPPORTED")
    lines = read_root_text(path, errors="replace").splitlines() if path.exists() else []
    return [line for line in lines if " " in line]


def _locale_gen(wanted: Sequence[str]) -> str:
    """Return the text of /etc/locale.gen with these locales added, each with its character set."""
    path = Path(LOCALE_GEN)
    lines = read_root_text(path, errors="replace").splitlines() if path.exists() else []
    sets = {line.split()[0]: line.split()[1] for line in _supported()}
    for name in wanted:
        codeset = name.partition(".")[2].partition("@")[0] or "ISO-8859-1"
        line = f"{name} {sets.get(name, codeset)}"
        if line not in lines:
            lines.append(line)
    return "".join(f"{line}\n" for line in lines)


def has_program(root: Root, program: str) -> bool:
    """Return True if a root has a program of this name in its search path."""
    return inside(root.path, _program, program)


def _program(name: str) -> bool:
    return any(os.access(f"{folder}/{name}", os.X_OK) for folder in PROGRAMS)


def _files_below(folder: str) -> list[str]:
    return sorted(f"{folder}/{name}" for name in files_below(Path(os.path.realpath(folder))))
