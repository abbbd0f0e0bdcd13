"""Time zone, locale and keyboard: which files say so, and what a root cannot give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from roots import EPOCH, as_root, in_sandbox, make_root, with_shell

from stagewright.root.local import Local, apply_local, missing_local_settings
from stagewright.root.requirements import asked_early
from stagewright.root.root import Root

ZONES = {f"usr/share/zoneinfo/{name}": "TZif2" for name in ("Europe/Berlin", "Europe/Paris", "UTC")}
KEYMAPS = {f"usr/share/keymaps/i386/qwertz/{name}.map.gz": "" for name in ("de", "de-latin1-nodeadkeys")}

LOCALE_GEN = """#!/bin/sh
while read name set; do
	case $name in ""|\\#*) ;; *) mkdir -p "/usr/lib/locale/$name";; esac
done </etc/locale.gen
"""
GENERATES = {
    "usr/sbin/locale-gen*": LOCALE_GEN,
    "usr/share/i18n/SUPPORTED": "de_DE.UTF-8 UTF-8\nde_DE ISO-8859-1\nde_DE@euro ISO-8859-15\nfr_FR.UTF-8 UTF-8\n",
    "etc/locale.gen": "# some comment\nfr_FR.UTF-8 UTF-8\n",
}


def text(root: Root, name: str) -> str:
    return (root.path / "etc" / name).read_text(encoding="utf-8")


@as_root
def test_time_zone(tmp_path: Path) -> None:
    root = make_root(tmp_path, {**ZONES, "etc/localtime": "old"})
    settings = Local(timezone="Europe/Berlin")
    assert missing_local_settings(settings, root) == []
    apply_local(settings, root, EPOCH)
    assert str((tmp_path / "etc/localtime").readlink()) == "../usr/share/zoneinfo/Europe/Berlin"
    assert text(root, "timezone") == "Europe/Berlin\n"


@as_root
def test_keyboard(tmp_path: Path) -> None:
    root = make_root(
        tmp_path,
        {**KEYMAPS, "etc/conf.d/keymaps": '# x\nkeymap="us"\nwindowkeys="YES"\n', "etc/vconsole.conf": "FONT=x\n"},
    )
    settings = Local(keymap="de-latin1-nodeadkeys")
    assert missing_local_settings(settings, root) == []
    apply_local(settings, root, EPOCH)
    assert text(root, "vconsole.conf") == 'FONT=x\nKEYMAP="de-latin1-nodeadkeys"\n'
    assert text(root, "conf.d/keymaps") == '# x\nwindowkeys="YES"\nkeymap="de-latin1-nodeadkeys"\n'


@as_root
@in_sandbox
def test_locales_are_made(tmp_path: Path) -> None:
    root = with_shell(make_root(tmp_path, {**GENERATES, "etc/env.d/00basic": ""}))
    settings = Local(locale="de_DE.UTF-8", locales=["de_DE@euro", "C.UTF-8"])
    assert missing_local_settings(settings, root) == []
    apply_local(settings, root, EPOCH)
    assert text(root, "locale.gen") == "# some comment\nfr_FR.UTF-8 UTF-8\nde_DE.UTF-8 UTF-8\nde_DE@euro ISO-8859-15\n"
    assert text(root, "locale.conf") == 'LANG="de_DE.UTF-8"\n'
    assert text(root, "env.d/02locale") == 'LANG="de_DE.UTF-8"\n'
    assert (tmp_path / "usr/lib/locale/de_DE@euro").is_dir()


@as_root
@pytest.mark.parametrize("locale", ["C.UTF-8", "de_DE.UTF-8"])
def test_locales_that_are_there(tmp_path: Path, locale: str) -> None:
    root = make_root(tmp_path, {"usr/lib/locale/de_DE.utf8/LC_TIME": ""})
    settings = Local(locale=locale)
    assert missing_local_settings(settings, root) == []
    apply_local(settings, root, EPOCH)
    assert text(root, "locale.conf") == f'LANG="{locale}"\n'
    assert not (tmp_path / "etc/env.d").exists()


REFUSED: dict[str, tuple[dict[str, str], dict[str, Any], str, str]] = {
    "zone": (
        ZONES,
        {"timezone": "Europe/Berlyn"},
        "/usr/share/zoneinfo/Europe/Berlyn not found",
        "did you mean 'Europe/Berlin'?",
    ),
    "folder of zones": (ZONES, {"timezone": "Europe"}, "/usr/share/zoneinfo/Europe not found", ""),
    "no zones": ({}, {"timezone": "UTC"}, "/usr/share/zoneinfo/UTC not found", "add sys-libs/timezone-data"),
    "keymap": (KEYMAPS, {"keymap": "dee"}, "keymap: dee not found", "did you mean 'de'?"),
    "no keymaps": ({}, {"keymap": "de"}, "keymap: de not found", "add sys-apps/kbd"),
    "locale": (GENERATES, {"locale": "de_DE.UTF8"}, "glibc does not have de_DE.UTF8", "did you mean 'de_DE.UTF-8'?"),
    "more locales": (GENERATES, {"locales": ["xx_XX.UTF-8"]}, "glibc does not have xx_XX.UTF-8", ""),
    "no locale-gen": ({}, {"locale": "de_DE.UTF-8"}, "the root does not have de_DE.UTF-8", "locale-gen"),
}


@as_root
@pytest.mark.parametrize(("texts", "settings", "message", "hint"), REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path: Path, texts: Any, settings: Any, message: str, hint: str) -> None:
    (lack,) = missing_local_settings(Local(**settings), make_root(tmp_path, texts))
    assert message in lack.message
    assert hint in lack.error().hint


@pytest.mark.parametrize(
    "settings",
    [
        {"timezone": "../etc/passwd"},
        {"timezone": "/UTC"},
        {"locale": "de DE"},
        {"locale": "de_DE.UTF-8\nX=1"},
        {"keymap": "a/b"},
    ],
    ids=str,
)
def test_errors_in_the_project_file_are_reported_when_it_is_read(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Local(**settings)


@as_root
@in_sandbox
def test_wrong_names_are_known_before_packages_are_built(tmp_path: Path) -> None:
    """A list of zones, keymaps or locales that the root has is complete; a root without it gets it by a package."""
    settings = Local(timezone="Europe/Berln", keymap="de-latin9", locale="de_DE.UTF8")
    full = with_shell(make_root(tmp_path / "full", {**ZONES, **KEYMAPS, **GENERATES}))
    permanent, notes = asked_early(missing_local_settings(settings, full), ["app-misc/hello"], [])
    assert (len(permanent), notes) == (3, [])
    empty = with_shell(make_root(tmp_path / "empty"))
    permanent, (note,) = asked_early(missing_local_settings(settings, empty), ["app-misc/hello"], [])
    assert permanent == []
    assert all(name in note for name in ("time zone Europe/Berln", "keymap de-latin9", "locale de_DE.UTF8"))
