"""Payloads, media and boot tests in a project: errors that are reported before the build."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from roots import EPOCH, as_root, make_root

from stagewright.engine.session import Session
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.kinds.media.livecd_stage2 import LiveStage2
from stagewright.kinds.media.payload_files import copy_modules, take_over
from stagewright.kinds.media.squashfs import SquashfsSettings, add_boot_files, add_modules
from stagewright.kinds.registry import graph_of, kinds
from stagewright.media.arguments import InitramfsKind
from stagewright.media.loaders import BOOT_IMAGE, CORE_IMAGE, Loader
from stagewright.media.payload import FIRMWARE, LOADERS, MODULES, BootKernel, Payload
from stagewright.project.load import load
from stagewright.store.store import Store
from stagewright.vm import accel
from stagewright.vm.firmware import Firmware
from stagewright.vm.machine_spec import MachineSpec, command_line, prepare

HEAD = """format = 1
project = { name = "p", version = "1", source_date_epoch = 2026-01-01 }
[seeds.it]
file = "seed.tar"
[stages.boot2]
kind = "livecd-stage2"
root = "it"
loaders = ["grub"]
[stages.live]
kind = "livecd-stage1"
root = "it"
issue = "Welcome to {name}"
motd = "You are in."
"""

STAGE = {
    "boot": {"kind": '"livecd-stage2"', "root": '"it"'},
    "iso": {"kind": '"livecd-stage3"', "live": '"live"', "boot": '"boot"'},
    "net": {"kind": '"pxeboot"', "live": '"live"', "boot": '"boot"'},
}
TEST = {"boots": '"iso"', "expect": '["login"]'}


def write(folder: Path, **settings: Mapping[str, str]) -> Path:
    """A project with a payload, an ISO and a boot test, with these settings of each."""
    text = HEAD
    for name, values in STAGE.items():
        lines = {**values, **settings.get(name, {})}
        text += f"[stages.{name}]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items() if value)
    lines = {**TEST, **settings.get("test", {})}
    text += "[tests.it-boots]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items() if value)
    (folder / "stagewright.toml").write_text(text, encoding="utf-8")
    for name in ("seed.tar", "db.crt", "variables.fd"):
        (folder / name).touch()
    return folder


SIGNED = '{ key = "/nowhere/db.key", certificate = "db.crt" }'

WRONG = [
    ("iso", {"volume_id": '" MY LIVE CD"'}),
    ("iso", {"volume_id": '"MY LIVE CD "'}),
    ("iso", {"volume_id": '"MY\\tLIVE CD"'}),
    ("iso", {"volume_id": f'"{"X" * 33}"'}),
    ("iso", {"loader": '"lilo"'}),
    ("iso", {"loader": '"grub"'}),  # the payload carries systemd-boot
    ("iso", {"boot": '"live"'}),
    ("iso", {"memtest": "true"}),
    ("iso", {"kernel": '"hardened"'}),  # the payload has no kernel called so
    ("iso", {"theme": '"."'}),
    ("iso", {"title": "'say \"x\"'"}),
    ("iso", {"kernel_arguments": '{ extra = ["root=/dev/sda"] }'}),
    ("iso", {"kernel_arguments": '{ persistence = "a label with spaces" }'}),
    ("iso", {"entries": '["fast"]'}),
    ("iso", {"esp": '"many"'}),
    ("iso", {"installable": "true", "loader": '"grub"', "boot": '"boot2"'}),
    ("boot", {"loaders": '["systemd-boot", "grub"]', "secure_boot": SIGNED}),
    ("boot", {"secure_boot": '{ key = "db.key", certificate = "db.crt" }'}),  # a key inside of the project
    ("boot", {"secure_boot": '{ key = "/db.key", certificate = "gone.crt" }'}),
    ("boot", {"initramfs": '{ modules = ["livenet"] }'}),
    ("boot", {"kernels": "{ a = {}, b = {} }", "kernel": '{ version = "6.1" }'}),
    ("boot", {"kernels": "{ a = {} }", "default": '"b"'}),
    ("boot", {"kernels": "{ a = {}, gentoo = {} }"}),
    ("boot", {"kernels": '{ "a/b" = {} }'}),
    ("boot", {"kernels": '{ a = { config = "gone" } }'}),
    ("boot", {"firmware": '["/etc/passwd"]'}),
    ("boot", {"microcode": "true", "kernel": '{ tree = "/usr/src/linux", build = "genkernel" }', "verity": "false"}),
    ("boot", {"verity": "true", "kernel": '{ tree = "/usr/src/linux", build = "genkernel" }'}),
    ("test", {"firmware": '"coreboot"'}),
    ("test", {"firmware": '"bios"', "variables": '"variables.fd"'}),
    ("test", {"refused": "true"}),  # and expects something
    ("test", {"attach": '"floppy"'}),
]


@pytest.mark.parametrize(("where", "settings"), WRONG, ids=lambda value: str(value)[:60])
def test_invalid_settings_are_reported_with_their_place(tmp_path: Path, where: str, settings: dict[str, str]) -> None:
    with pytest.raises(ProblemsError) as caught:
        load(write(tmp_path, **{where: settings}), kinds())
    header = "[tests.it-boots]" if where == "test" else f"[stages.{where}]"
    lines = (tmp_path / "stagewright.toml").read_text(encoding="utf-8").splitlines()
    begin = lines.index(header) + 1
    for problem in caught.value.problems:
        assert problem.reason in (Reason.INVALID_VALUE, Reason.UNKNOWN_NAME, Reason.MISSING_FILE, Reason.UNKNOWN_KEY)
        assert problem.place and begin <= problem.place.line <= begin + 5


@as_root
def test_modules_are_copied_inside_the_live_root(tmp_path: Path) -> None:
    """A link of the root to a folder outside is followed inside the root; a link to /usr/lib works."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keys").write_text("mine", encoding="utf-8")
    (tmp_path / "root").mkdir()
    root = make_root(tmp_path / "root", {"usr/lib/modules/6.1/old.ko": ""}, links={"lib": "usr/lib"})
    (root.path / "usr/lib/modules/6.1/kernel").symlink_to(outside)
    (root.path / outside.relative_to("/")).mkdir(parents=True)
    modules = tmp_path / "payload" / MODULES / "6.1" / "kernel"
    modules.mkdir(parents=True)
    (modules / "keys").write_text("module", encoding="utf-8")
    (tmp_path / "payload" / FIRMWARE).mkdir()
    (tmp_path / "payload" / FIRMWARE / "wifi.bin").touch()
    add_modules(root, tmp_path / "payload", EPOCH)
    assert (outside / "keys").read_text(encoding="utf-8") == "mine"
    inner = root.path / outside.relative_to("/") / "keys"
    assert inner.read_text(encoding="utf-8") == "module"
    assert inner.stat().st_mtime == EPOCH
    assert (root.path / "usr/lib/firmware/wifi.bin").exists()


@as_root
def test_an_installable_image_has_the_boot_files_in_the_places_of_an_installed_system(tmp_path: Path) -> None:
    folder = tmp_path / "payload"
    contents = {
        "boot/gentoo": "kernel",
        "boot/gentoo.igz": "initramfs",
        "boot/old": "other kernel of this version",
        "boot/old.igz": "",
        f"{LOADERS}/systemd-boot/BOOTX64.EFI": "sd-boot",
        f"{LOADERS}/grub-hybrid/{BOOT_IMAGE}": "first sector",
        f"{LOADERS}/grub-hybrid/{CORE_IMAGE}": "core",
        f"{LOADERS}/grub-hybrid/BOOTX64.EFI": "GRUB",
        f"{LOADERS}/uki/linuxx64.efi.stub": "stub",
    }
    for name, text in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o444)
    kernels = [
        BootKernel(name, "6.12", f"boot/{file}", f"boot/{file}.igz", InitramfsKind.DRACUT, False, (), False)
        for name, file in (("a", "gentoo"), ("old", "old"))
    ]
    Payload("amd64", tuple(kernels)).write(folder)
    (tmp_path / "root").mkdir()
    root = make_root(tmp_path / "root", {"usr/lib/modules/6.12/modules.dep": "kept"}, links={"lib": "usr/lib"})
    add_boot_files(root, folder, tmp_path / "links", EPOCH)
    lib = root.path / "usr/lib"
    assert (lib / "modules/6.12/vmlinuz").read_text(encoding="utf-8") == "kernel"
    assert (lib / "modules/6.12/initramfs.img").stat().st_mode & 0o777 == 0o644
    assert (lib / "modules/6.12/modules.dep").exists()
    assert (lib / "systemd/boot/efi/systemd-bootx64.efi").read_text(encoding="utf-8") == "sd-boot"
    assert (lib / "systemd/boot/efi/linuxx64.efi.stub").exists()
    assert (lib / "grub/i386-pc/core.img").read_text(encoding="utf-8") == "core"
    assert (lib / "grub/i386-pc/boot.img").stat().st_mtime == EPOCH


def test_only_installable_media_have_another_squashfs(tmp_path: Path) -> None:
    settings = {"loaders": '["systemd-boot", "isolinux", "uki"]'}
    graph = graph_of(load(write(tmp_path, boot=settings, net={"installable": "true"}), kinds()))
    assert graph.nodes["iso"].inputs["squashfs"] == "live+boot.squashfs"
    assert graph.nodes["net"].inputs["squashfs"].startswith("live+boot.squashfs-")
    assert SquashfsSettings(installable=True).installed_parts(LiveStage2(root="x", loaders=[Loader.UKI])) == (
        "loader-uki",
    )


@pytest.mark.parametrize("links", [{}, {"lib/modules/6.1": "/etc/passwd"}])
def test_a_payload_without_a_folder_of_modules_is_refused(tmp_path: Path, links: dict[str, str]) -> None:
    root = make_root(tmp_path / "root", {"lib/modules/5.0/old.ko": ""}, links=links)
    with pytest.raises(StagewrightError) as caught:
        copy_modules(root, "6.1", tmp_path / "modules")
    assert caught.value.reason is Reason.BUILD_FAILED
    assert not (tmp_path / "modules").exists()


def test_the_output_of_commands_may_not_be_a_link(tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.mkdir()
    (output / "BOOTX64.EFI").symlink_to("/etc/shadow")
    with pytest.raises(StagewrightError) as caught:
        take_over(output, tmp_path / "payload" / "loaders" / "grub")
    assert caught.value.reason is Reason.BUILD_FAILED
    (output / "BOOTX64.EFI").unlink()
    (output / "BOOTX64.EFI").touch()
    assert (take_over(output, tmp_path / "payload" / "loaders" / "grub") / "BOOTX64.EFI").exists()


def test_a_uki_has_no_menu(tmp_path: Path) -> None:
    boot = {"loaders": '["uki"]'}
    load(write(tmp_path, boot=boot, iso={"loader": '"uki"'}), kinds())
    with pytest.raises(ProblemsError):
        load(write(tmp_path, boot=boot, iso={"loader": '"uki"', "entries": '["ram"]'}), kinds())


def test_only_required_programs_are_listed(tmp_path: Path) -> None:
    def tools(**settings: Mapping[str, str]) -> dict[str, set[str]]:
        nodes = graph_of(load(write(tmp_path, **settings), kinds())).nodes
        return {name: set(nodes[name].tools) for name in ("boot", "iso", "net")}

    more = {"osslsigncode", "implantisomd5"}
    plain = tools()
    assert not more & (plain["boot"] | plain["iso"] | plain["net"])
    keys, uki = {"loaders": '["uki"]', "secure_boot": SIGNED}, {"loader": '"uki"'}
    signed = tools(boot=keys, iso=uki, net={"single_file": "true"})
    assert [signed[name] & more for name in ("boot", "iso", "net")] == [{"osslsigncode"}] * 3
    assert not tools(boot=keys, iso=uki)["net"] & more  # it makes no EFI program
    assert tools(iso={"entries": '["verify"]'})["iso"] & more == {"implantisomd5"}


def test_the_certificate_is_part_of_keys_and_the_private_key_is_not(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    folder = write(tmp_path, boot={"secure_boot": SIGNED.replace("/nowhere/db.key", str(secret))})

    def key() -> str:
        return Session(load(folder, kinds()), Store(tmp_path / "store")).plan().steps["boot"].key.digest

    secret.write_text("one", encoding="utf-8")
    before = key()
    secret.write_text("another", encoding="utf-8")
    assert key() == before
    (folder / "db.crt").write_text("another certificate", encoding="utf-8")
    assert key() != before


@pytest.mark.parametrize(
    ("test", "hint"), [({"firmware": '"bios"'}, "uefi"), ({"boots": "", "netboots": '"pxe"'}, "grub")]
)
def test_tests_that_arm64_does_not_support_are_refused(tmp_path: Path, test: Mapping[str, str], hint: str) -> None:
    text = (write(tmp_path, test=test) / "stagewright.toml").read_text(encoding="utf-8")
    pxe = '[stages.pxe]\nkind = "pxeboot"\nlive = "live"\nboot = "boot"\n'
    arm = text.replace('file = "seed.tar"\n', 'file = "seed.tar"\narch = "arm64"\n')
    (tmp_path / "stagewright.toml").write_text(arm + pxe, encoding="utf-8")
    with pytest.raises(StagewrightError) as caught:
        graph_of(load(tmp_path, kinds()))
    assert caught.value.reason is Reason.INVALID_VALUE
    assert caught.value.place and caught.value.place.line > 1
    assert hint in caught.value.hint
    (tmp_path / "stagewright.toml").write_text(
        f'{arm}start = "grub"\n{pxe}' if "boots" in test else text, encoding="utf-8"
    )
    node = graph_of(load(tmp_path, kinds())).nodes["test:it-boots"]
    assert node.tools == (("qemu-system-aarch64",) if "boots" in test else ("qemu-system-x86_64",))


def test_machines_with_other_firmware_and_architecture(tmp_path: Path) -> None:
    secure = Firmware(tmp_path / "code", tmp_path / "vars", features=frozenset({"secure-boot", "requires-smm"}))
    (tmp_path / "vars").write_text("variables", encoding="utf-8")
    (tmp_path / "work").mkdir()
    spec = MachineSpec(firmware="uefi-secure", cdrom=Path("/x.iso"))
    line = prepare(spec, accel.tcg(""), tmp_path / "work", [], firmware=secure)
    assert line[0] == "qemu-system-x86_64"
    assert "q35,smm=on" in line
    arm = MachineSpec(architecture="aarch64", cdrom=Path("/x.iso"))
    line = command_line(arm, accel.of("aarch64"), [], firmware=secure, variables=tmp_path / "vars")
    assert line[0] == "qemu-system-aarch64"
    assert line[line.index("-machine") + 1] == "virt"
    assert "ramfb" in line


def test_a_medium_chooses_among_the_kernels_of_its_payload(tmp_path: Path) -> None:
    kernels = '{ gentoo = {}, hardened = { tree = "/usr/src/linux" } }'
    plain = graph_of(load(write(tmp_path, boot={"kernels": kernels}), kinds())).nodes
    chosen = write(tmp_path, boot={"kernels": kernels}, iso={"kernel": '"hardened"'})
    nodes = graph_of(load(chosen, kinds())).nodes
    assert "kernel" not in plain["iso"].settings.for_key()
    assert plain["boot"].demand.cores == 4  # one of them is compiled
    assert nodes["iso"].settings.for_key()["kernel"] == "hardened"
    assert nodes["live+boot.squashfs"] == plain["live+boot.squashfs"]


@pytest.mark.parametrize("several", [False, True])
def test_a_configuration_without_live_support_is_reported_before_the_build(tmp_path: Path, several: bool) -> None:
    kernel = '{ tree = "/usr/src/linux", config = "small.config" }'
    boot = {"kernels": f"{{ small = {kernel} }}"} if several else {"kernel": kernel}
    folder = write(tmp_path, boot=boot)
    (folder / "small.config").write_text(
        "CONFIG_SQUASHFS=y\n", encoding="utf-8"
    )  # what is not said may still be set by others
    load(folder, kinds())
    (folder / "small.config").write_text(
        "# CONFIG_SQUASHFS is not set\n# CONFIG_OVERLAY_FS is not set\n", encoding="utf-8"
    )
    with pytest.raises(ProblemsError) as caught:
        load(folder, kinds())
    (problem,) = caught.value.problems
    assert problem.reason is Reason.INVALID_VALUE
    assert problem.place and problem.place.line
    assert all(name in problem.message for name in ("small.config", "CONFIG_SQUASHFS", "CONFIG_OVERLAY_FS"))
    assert ("kernels.small.config:" if several else "kernel.config:") in problem.message
