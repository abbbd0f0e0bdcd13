"""Disk images as projects describe them: what a type stands for, what does not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drafts import Draft
from pydantic import ValidationError
from roots import as_root, cpio, make_root

from stagewright.errors import ProblemsError, Reason
from stagewright.kinds.media.disk_boot_files import without_driver
from stagewright.kinds.media.diskimage_stage1 import DiskImage1, DiskType, _has_old_cloud_init
from stagewright.kinds.media.diskimage_stage2 import DiskImage2
from stagewright.kinds.registry import kinds
from stagewright.kinds.tests.boots import Attach
from stagewright.media.arguments import InitramfsKind
from stagewright.media.payload import BootKernel, Payload
from stagewright.project.load import load
from stagewright.project.model import Project
from stagewright.root.init_program import without_init

HEAD = """format = 1
[project]
name = "p"
version = "1"
[seeds.seed]
file = "seed.tar"
[stages.boot]
kind = "livecd-stage2"
root = "seed"
[stages.live]
kind = "livecd-stage1"
root = "seed"
[stages.disk]
kind = "diskimage-stage2"
root = "seed"
"""


def loaded(draft: Draft, text: str) -> Project:
    (draft.folder / "seed.tar").touch()
    (draft.folder / "stagewright.toml").write_text(text, encoding="utf-8")
    return load(draft.folder, kinds())


def stage1(**settings: Any) -> DiskImage1:
    return DiskImage1.model_validate({"root": "seed", **settings})._with_type()


def test_each_type_is_settings_of_a_stage4() -> None:
    assert stage1().services.enable == []
    console = stage1(type="console", services={"enable": ["systemd-networkd.service", "cronie.service"]})
    assert console.root_password == "empty"
    assert console.services.enable == ["systemd-networkd.service", "cronie.service", "systemd-resolved.service"]
    ssh = stage1(type="ssh", ssh_key="keys/me.pub", users={"root": {"authorized_keys": ["keys/other.pub"]}})
    assert ssh.users["root"].authorized_keys == ["keys/other.pub", "keys/me.pub"]
    assert "sshd.service" in ssh.services.enable
    assert ssh.root_password is None
    assert "cloud-init-main.service" in stage1(type="cloud-init").services.enable


@pytest.mark.parametrize(
    ("names", "enabled"),
    [
        (["cloud-init.service"], "cloud-init.service"),
        (["cloud-init-network.service", "cloud-init.service"], "cloud-init-network.service"),
        ([], "cloud-init-network.service"),
    ],
)
def test_the_units_of_older_versions_of_cloud_init_have_other_names(
    tmp_path: Path, names: list[str], enabled: str
) -> None:
    units = tmp_path / "lower/usr/lib/systemd/system"
    units.mkdir(parents=True)
    (tmp_path / "upper").mkdir()
    for name in names:
        (units / name).touch()
    old = _has_old_cloud_init([tmp_path / "upper", tmp_path / "lower"])
    settings = DiskImage1.model_validate({"root": "seed", "type": "cloud-init"})._with_type(old=old)
    wanted = {"cloud-init-local.service", enabled, "cloud-config.service", "cloud-final.service"}
    assert set(settings.services.enable) - {"cloud-init-main.service"} == wanted
    assert ("cloud-init-main.service" in settings.services.enable) != old


@pytest.mark.parametrize("kind", list(DiskType))
def test_types_that_log_in_over_the_network_configure_it(kind: DiskType) -> None:
    assert kind.dhcp == ("systemd-networkd.service" in kind.services)


@pytest.mark.parametrize(
    "settings",
    [
        {"type": "ssh"},
        {"ssh_key": "me.pub"},
        {"type": "console", "root_password": "locked"},
        {"type": "floppy"},
    ],
)
def test_what_does_not_go_together(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        stage1(**settings)


@pytest.mark.parametrize("loader", ["isolinux"])
def test_loaders_that_start_no_disks(loader: str) -> None:
    with pytest.raises(ValidationError):
        DiskImage2.model_validate({"root": "seed", "boot": "boot", "loader": loader})


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ('boot = "live"', "boot"),
        ('boot = "boot"\nloader = "grub"', "loader"),
        ('boot = "boot"\nsize = "large"', "size"),
        ('boot = "boot"\nkernel_arguments = { overlay = true }', "overlay"),
        ('boot = "boot"\ntitle = "a\\nb"', "title"),
    ],
)
def test_errors_are_reported_at_their_places(draft: Draft, settings: str, place: str) -> None:
    (draft.folder / "seed.tar").touch()
    text = f"{HEAD}{settings}\n"
    (draft.folder / "stagewright.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ProblemsError) as caught:
        load(draft.folder, kinds())
    (problem,) = caught.value.problems
    assert problem.reason in (Reason.INVALID_VALUE, Reason.UNKNOWN_KEY)
    assert problem.place
    assert place in text.splitlines()[problem.place.line - 1]


def test_the_only_loader_of_the_payload_is_that_of_its_media(draft: Draft) -> None:
    iso = '[stages.iso]\nkind = "livecd-stage3"\nlive = "live"\nboot = "boot"\n'
    for loaders, chosen in (('"grub"', "grub"), ('["uki"]', "uki"), ('["systemd-boot", "grub"]', "")):
        written = f"loaders = {loaders}"
        text = HEAD.replace("[stages.live]", f"{written}\n[stages.live]") + f'boot = "boot"\n{iso}'
        stages = loaded(draft, text).entries["stages"]
        for entry in (stages["disk"], stages["iso"]):
            assert getattr(entry.model, "loader", None) == (chosen or "systemd-boot")
            place = entry.places.get(("loader",))
            assert (place and place.line) == (text.splitlines().index(written) + 1 if chosen else None)
    text = HEAD.replace("[stages.live]", 'loaders = ["isolinux"]\n[stages.live]') + 'boot = "boot"\n'
    (draft.folder / "stagewright.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ProblemsError) as caught:
        load(draft.folder, kinds())
    assert 'add "systemd-boot" to `loaders`' in caught.value.problems[0].hint


def test_tests_attach_disk_images_as_disks(draft: Draft) -> None:
    test = '[tests.t]\nboots = "disk"\nexpect = "login:"\n'
    loaded(draft, f'{HEAD}boot = "boot"\n{test}')
    assert [Attach.of(Path(name)) for name in ("a.iso", "a.qcow2", "a.img")] == [Attach.CD, Attach.DISK, Attach.DISK]
    several = '[tests.u.machines.a]\nboots = "disk"\nattach = "cd"\n[[tests.u.steps]]\nwait = "x"\nmachine = "a"\n'
    for settings, more in (("", 'attach = "cd"\n'), ('format = "vmdk"\n', "")):
        (draft.folder / "stagewright.toml").write_text(
            f'{HEAD}boot = "boot"\n{settings}{test}{more}{several if more else ""}', encoding="utf-8"
        )
        with pytest.raises(ProblemsError) as caught:
            load(draft.folder, kinds())
        assert {problem.reason for problem in caught.value.problems} == {Reason.INVALID_VALUE}
        assert len(caught.value.problems) == (2 if more else 1)


@as_root
def test_a_root_without_an_init_is_known(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    assert "sys-apps/systemd" in without_init(root.path)
    assert "/bin/sh not found" in without_init(root.path, ["init=/bin/sh"])
    assert without_init(root.path, ["init=/bin/bash"]) == ""
    assert without_init(make_root(tmp_path, {"sbin/init*": ""}).path) == ""


def test_an_initramfs_without_the_driver_of_the_root_is_known(tmp_path: Path) -> None:
    kernel = BootKernel("a", "6.1", "boot/gentoo", "boot/gentoo.igz", InitramfsKind.DRACUT, False, (), False)
    Payload(arch="amd64", kernels=(kernel,), microcode=(), firmware=()).write(tmp_path)
    for name in ("ext4/ext4.ko.xz", "xfs/xfs.ko"):
        (tmp_path / "modules/6.1/kernel/fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "modules/6.1/kernel/fs" / name).touch()
    (tmp_path / "boot").mkdir()
    (tmp_path / kernel.initramfs).write_bytes(cpio({"lib/modules/6.1/kernel/fs/xfs/xfs.ko": b""}))
    (tmp_path / "work").mkdir()
    assert without_driver(tmp_path, ["ext4", "xfs", "btrfs"], tmp_path / "work") == ["ext4"]
    assert without_driver(tmp_path, ["btrfs"], tmp_path / "work") == []
