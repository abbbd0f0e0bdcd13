"""The kind netboot in a project: errors before the build, and the inputs of its nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stagewright.kinds.media.netboot import NetBoot
from stagewright.kinds.registry import graph_of, kinds
from stagewright.project.load import load

SOURCES = {"sources": "sys-kernel/gentoo-sources", "build": "genkernel"}
TREE = {"tree": "/usr/src/linux", "build": "genkernel"}


def stage(**settings: Any) -> NetBoot:
    return NetBoot.model_validate({"root": "it", "kernels": {"small": SOURCES}, **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {"kernels": {}},
        {"kernels": {"misc": SOURCES}},
        {"kernels": {"a/b": SOURCES}},
        {"kernels": {"a": {"tree": "/usr/src/linux"}}},  # built by make, which makes no initramfs
        {"kernels": {"a": {"package": "sys-kernel/gentoo-kernel"}}},
        {"kernels": {"a": {}}},
        {"kernels": {"a": {**SOURCES, "packages": ["sys-fs/zfs"]}}},
        {"kernels": {"a": SOURCES, "b": SOURCES}},  # of one version
        {"kernels": {"a": {**TREE, "extraversion": "x"}, "b": {**TREE, "extraversion": "x"}}},
        {"files": ["usr/bin/nano"]},
        {"files": ["/"]},
        {"files": ["/*/nano"]},
        {"files": ["/usr/../etc/shadow"]},
        {"files": ["/.."]},
        {"files": ["/."]},
        {"files": ["/proc/cpuinfo"]},
        {"files": ["/dev"]},
        {"files": ["/run/"]},
        {"files": ["/usr//bin"]},
    ],
    ids=str,
)
def test_invalid_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        stage(**settings)


@pytest.mark.parametrize(
    "path", ["/etc", "/etc/", "/usr/lib64/libz.so.*", "/devices/x", "/usr/bin/..x", "/usr/share/a b"]
)
def test_paths_that_can_be_listed(path: str) -> None:
    assert stage(files=[path]).files == [path]


def test_portage_is_only_used_to_install_packages() -> None:
    assert stage().uses_portage
    assert stage(kernels={"a": TREE}, packages=["app-editors/nano"]).uses_portage
    assert not stage(kernels={"a": TREE, "b": {**TREE, "extraversion": "b"}}).uses_portage


def test_its_files_are_part_of_its_key(tmp_path: Path) -> None:
    (tmp_path / "stagewright.toml").write_text(
        'format = 1\nproject = { name = "p", version = "1" }\n[seeds.it]\nfile = "seed.tar"\n'
        '[stages.net]\nkind = "netboot"\nroot = "it"\noverlay = ["image"]\nroot_overlay = ["more"]\n'
        'busybox_config = "busybox.config"\nlinuxrc = "linuxrc"\n'
        '[stages.net.kernels.a]\ntree = "/usr/src/linux"\nbuild = "genkernel"\nconfig = "a.config"\n',
        encoding="utf-8",
    )
    for name in ("seed.tar", "busybox.config", "linuxrc", "a.config"):
        (tmp_path / name).touch()
    for name in ("image", "more"):
        (tmp_path / name).mkdir()
    node = graph_of(load(tmp_path, kinds())).nodes["net"]
    assert set(node.files.settings) == {"image", "more", "busybox.config", "linuxrc", "a.config"}
