"""The root of a complete system: a selected compiler, a time zone, a locale."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
from roots import EPOCH, as_root, in_sandbox, make_root, with_shell

from stagewright.kinds.common.base import Work
from stagewright.kinds.common.system import select_toolchain, set_time_zone_and_locale, ship_configuration
from stagewright.kinds.stages.stage2 import Stage2
from stagewright.portage.emerge import Portage
from stagewright.root.root import Root

pytestmark = [as_root, in_sandbox]

CONFIG = """#!/bin/sh
chosen=/etc/env.d/{tool}/config-chosen
case $1 in
--get-current-profile) test -e $chosen ;;
*) test -e /etc/env.d/{tool}/$1 && echo $1 > $chosen ;;
esac
"""


class FakeWork:
    """The part of a work that these tests need, and the notices that it got."""

    def __init__(self, files: dict[str, Path] | None = None) -> None:
        self.epoch = EPOCH
        self.files = files or {}
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def new_folder(self, name: str) -> Path:
        folder = self.files["portage"].parent / name
        folder.mkdir()
        return folder

    @property
    def work(self) -> Work:
        return cast("Work", self)


def root_with(folder: Path, files: dict[str, str], **links: Any) -> Root:
    root = with_shell(make_root(folder, files, **links))
    return Root(root.path, root.upper, log=io.StringIO())


@pytest.fixture
def toolchain(tmp_path: Path) -> Root:
    names = ("x86_64-pc-linux-gnu-9", "x86_64-pc-linux-gnu-15", "x86_64-pc-linux-gnu-14")
    profiles = {f"etc/env.d/gcc/{name}": "" for name in names} | {"etc/env.d/binutils/x86_64-pc-linux-gnu-2.45": ""}
    programs = {f"usr/bin/{tool}-config*": CONFIG.format(tool=tool) for tool in ("gcc", "binutils")}
    return root_with(tmp_path, {**profiles, **programs})


def test_the_newest_compiler_is_selected(toolchain: Root) -> None:
    told = FakeWork()
    select_toolchain(toolchain, told.work)
    assert (toolchain.path / "etc/env.d/gcc/config-chosen").read_text(encoding="utf-8") == "x86_64-pc-linux-gnu-15\n"
    assert (toolchain.path / "etc/env.d/binutils/config-chosen").read_text(
        encoding="utf-8"
    ) == "x86_64-pc-linux-gnu-2.45\n"
    assert told.notices == ["gcc-config: x86_64-pc-linux-gnu-15", "binutils-config: x86_64-pc-linux-gnu-2.45"]


def test_a_selected_compiler_stays(toolchain: Root) -> None:
    chosen = toolchain.path / "etc/env.d/gcc/config-chosen"
    chosen.write_text("x86_64-pc-linux-gnu-14\n", encoding="utf-8")
    select_toolchain(toolchain, FakeWork().work)
    assert chosen.read_text(encoding="utf-8") == "x86_64-pc-linux-gnu-14\n"


def test_a_root_without_these_programs_is_left_alone(tmp_path: Path) -> None:
    told = FakeWork()
    root = root_with(tmp_path, {"etc/env.d/gcc/x86_64-pc-linux-gnu-15": ""})
    select_toolchain(root, told.work)
    set_time_zone_and_locale(root, told.work)
    assert told.notices == []
    assert sorted(path.name for path in (root.path / "etc").iterdir() if path.name in ("localtime", "locale.gen")) == []


def test_time_zone_and_locale(tmp_path: Path) -> None:
    program = "#!/bin/sh\nread line < /etc/locale.gen\necho $line > /made\n"
    root = root_with(tmp_path, {"usr/share/zoneinfo/Factory": "", "usr/bin/locale-gen*": program, "etc/env.d/x": ""})
    set_time_zone_and_locale(root, FakeWork().work)
    assert (root.path / "etc/localtime").readlink() == Path("../usr/share/zoneinfo/Factory")
    assert (root.path / "made").read_text(encoding="utf-8") == "C.UTF-8 UTF-8\n"
    assert (root.path / "etc/env.d/02locale").read_text(encoding="utf-8") == "LANG=C.UTF-8\n"


def test_a_time_zone_that_is_there_stays(tmp_path: Path) -> None:
    files = {"usr/share/zoneinfo/Factory": "", "usr/share/zoneinfo/UTC": ""}
    root = root_with(tmp_path, files, links={"etc/localtime": "../usr/share/zoneinfo/UTC"})
    set_time_zone_and_locale(root, FakeWork().work)
    assert (root.path / "etc/localtime").readlink() == Path("../usr/share/zoneinfo/UTC")


def test_the_make_conf_of_a_system_holds_the_values_that_were_given(tmp_path: Path) -> None:
    root = root_with(tmp_path, {})
    values = {"CFLAGS": '-DNAME="a b" -DPATH=c:\\d', "USE": "-x y"}
    stage = Stage2(root="seed", make_conf=values)
    ship_configuration(stage, root, cast("Portage", None), FakeWork().work)
    made = root.path / "etc/portage/make.conf"
    shown = subprocess.run(
        ["sh", "-c", f'. {made}; printf "%s\\0" "$CFLAGS" "$USE"'], capture_output=True, check=True, text=True
    )
    assert shown.stdout.split("\0")[:-1] == list(values.values())
    assert "LC_MESSAGES=C.UTF-8" in made.read_text(encoding="utf-8")


def test_a_system_keeps_the_files_of_confdirs_that_are_not_for_the_build_only(tmp_path: Path) -> None:
    """As Catalyst: entries called like portage_prefix, patches and make.conf do not ship."""
    root = root_with(tmp_path / "r", {"etc/portage/package.use/old": "x/y old\n"})
    confdir = tmp_path / "confdir"
    for name in (
        "package.use/own",
        "package.use/releng",
        "package.env/releng",
        "env/releng/file",
        "patches/a/b/x.patch",
    ):
        (confdir / name).parent.mkdir(parents=True, exist_ok=True)
        (confdir / name).write_text(f"{name}\n", encoding="utf-8")
    for name in ("make.conf", "package.license"):
        (confdir / name).write_text("FEATURES=x\n", encoding="utf-8")
    work = FakeWork(files={"portage": confdir}).work
    stage = Stage2(root="seed", confdir=["portage"], ship_confdir=True, confdir_prefix="releng")
    ship_configuration(stage, root, cast("Portage", None), work)
    etc = root.path / "etc/portage"
    assert {str(path.relative_to(etc)) for path in etc.rglob("*") if path.is_file()} == {
        *("make.conf", "package.license", "package.use/old", "package.use/own")
    }
    assert "FEATURES" not in (etc / "make.conf").read_text(encoding="utf-8")


def test_files_of_confdirs_are_for_the_build_only_by_default(tmp_path: Path) -> None:
    root = root_with(tmp_path / "r", {})
    (tmp_path / "confdir/package.use").mkdir(parents=True)
    work = FakeWork(files={"portage": tmp_path / "confdir"}).work
    ship_configuration(Stage2(root="seed", confdir=["portage"]), root, cast("Portage", None), work)
    assert [path.name for path in (root.path / "etc/portage").iterdir()] == ["make.conf"]


@pytest.mark.parametrize(("shape", "signed"), [("file", True), ("folder", True), ("file", False)])
def test_a_system_takes_signed_packages_of_its_host(tmp_path: Path, shape: str, signed: bool) -> None:
    place = "etc/portage/make.conf" if shape == "file" else "etc/portage/make.conf/mine"
    root = root_with(tmp_path, {place: 'USE="x"'})
    stage = Stage2(root="seed", binrepo="https://example.org/packages", binrepo_signed=signed)
    ship_configuration(stage, root, cast("Portage", None), FakeWork().work)
    conf = (tmp_path / "etc/portage/binrepos.conf/gentoo.conf").read_text(encoding="utf-8")
    assert conf.startswith("[gentoo]\n")
    assert "location = /var/cache/binhost/gentoo\n" in conf
    assert f"verify-signature = {str(signed).lower()}\n" in conf
    written = place if shape == "file" else "etc/portage/make.conf/binhost"
    text = (tmp_path / written).read_text(encoding="utf-8") if (tmp_path / written).exists() else ""
    assert ('FEATURES="${FEATURES} binpkg-request-signature"' in text.splitlines()) is signed
