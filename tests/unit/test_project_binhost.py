"""Binary package hosts of a project: Gentoo's by a short name, with Gentoo's keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.base import Stage
from stagewright.kinds.registry import graph_of, kinds
from stagewright.project.binhost import GENTOO_PACKAGES, Binhost
from stagewright.project.load import load
from stagewright.seeds import gentoo_keyring


@pytest.mark.parametrize(
    ("layout", "folder"),
    [
        ("23.0/x86-64", "amd64"),
        ("23.0/x86-64-v3", "amd64"),
        ("23.0/arm64", "arm64"),
        ("23.0/rv64_lp64d", "riscv"),
        ("23.0/i686", "x86"),
        ("23.0/power9le", "ppc"),
    ],
)
def test_packages_of_gentoo_have_a_short_name(layout: str, folder: str) -> None:
    host = Binhost(gentoo=layout)
    assert host.uri == f"{GENTOO_PACKAGES}/{folder}/binpackages/{layout}"
    assert host.by_gentoo_keys


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "needs `uri` or `gentoo`"),
        ({"uri": "https://example.org", "gentoo": "23.0/arm64"}, "exclude each other"),
        ({"gentoo": "x86-64"}, "invalid value"),
        ({"uri": "https://example.org"}, "`keys` are missing"),
    ],
)
def test_a_host_needs_one_address_and_keys(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Binhost(**settings)


PROJECT = """
format = 1
[project]
name = "x"
[repos.farm]
path = "repo"
[binhosts.gentoo]
gentoo = "23.0/x86-64"
[seeds.stage3]
file = "seed.tar"
[stages.base]
kind = "stage4"
root = "stage3"
profile = "base"
packages = ["app-misc/hello"]
"""


def test_gentoos_keys_are_found_or_the_build_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "repo/profiles/base").mkdir(parents=True)
    (tmp_path / "repo/app-misc/hello").mkdir(parents=True)
    (tmp_path / "seed.tar").touch()
    (tmp_path / "stagewright.toml").write_text(PROJECT, encoding="utf-8")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(gentoo_keyring, "KEYRING", tmp_path / "system.asc")
    project = load(tmp_path, kinds(), None)
    model = project.entries["stages"]["base"].model
    assert isinstance(model, Stage)
    ((path, error),) = model.before_build(project)
    assert (path, error.reason) == (("binhosts",), Reason.NO_KEYS)
    assert isinstance(error, StagewrightError)
    assert graph_of(project).nodes["base"].files.binhost_keys == {}
    (tmp_path / "system.asc").touch()
    assert not list(model.before_build(project))
    assert graph_of(project).nodes["base"].files.binhost_keys == {"gentoo": tmp_path / "system.asc"}
