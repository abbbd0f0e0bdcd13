"""Conversion of specs to a project: entries, places of errors, and equal keys after writing it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from releases import HEAD, SPECS, STAMP, World, keys_in

from stagewright.catalyst.convert.entry_draft import EntryDraft, text
from stagewright.catalyst.convert.entry_names import FileNames, bare
from stagewright.catalyst.convert.matrices import merge_entries
from stagewright.cli.main import run
from stagewright.dropin.storedir import Layout
from stagewright.dropin.written import write_and_read
from stagewright.errors import Exit, Place, ProblemsError, Reason, StagewrightError
from stagewright.kinds.common.base import Scope
from stagewright.kinds.registry import kinds
from stagewright.project.load import load


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def problems(world: World, *specs: Path) -> list[StagewrightError]:
    with pytest.raises(ProblemsError) as caught:
        world.load(*specs).complete()
    return caught.value.problems


def data(world: World, name: str) -> dict[str, object]:
    return next(draft.data for draft in world.load().converted.drafts if draft.name == name)


def test_a_release_of_all_targets(world: World) -> None:
    world.write_all()
    project = world.load().complete()
    stages = {name: entry.kind for name, entry in project.entries["stages"].items()}
    assert {name: kind for name, kind in stages.items() if not name.endswith(".tar")} == {
        "stage1-amd64-openrc": "stage1",
        "stage3-amd64-openrc": "stage3",
        "stage4-amd64-server": "stage4",
        "livecd-stage1-amd64": "stage4",
        "livecd-stage2-amd64.live": "stage4",
        "livecd-stage2-amd64.payload": "livecd-stage2",
        "livecd-stage2-amd64": "livecd-stage3",
        "diskimage-stage1-amd64-console": "stage4",
        "diskimage-stage2-amd64.root": "diskimage-stage1",
        "diskimage-stage2-amd64.payload": "livecd-stage2",
        "diskimage-stage2-amd64": "diskimage-stage2",
        "embedded-amd64-tiny": "embedded",
        "netboot-amd64-small": "netboot",
    }
    assert sum(name.endswith(".tar") for name in stages) == 6
    assert list(project.entries["seeds"]) == ["stage3-amd64-openrc-seed"]
    assert project.info.version == STAMP
    assert project.epoch == 1782665155  # from the stamp


def test_a_stage4_is_converted(world: World) -> None:
    world.write_all()
    assert data(world, "stage4-amd64-server") == {
        "kind": "stage4",
        "root": "stage3-amd64-openrc",
        "common_flags": "-O2 -pipe",
        "make_conf": {"CFLAGS": "-O1"},  # from the stage1
        "profile": "default/linux/amd64/1.0",
        "repos": ["gentoo"],
        "use": ["-doc"],
        "packages": ["app-misc/hello", "app-misc/plain"],
        "script": "files/files/script.sh",
        "root_overlay": ["files/files/overlay"],
        "services": {
            "runlevels": {"default": ["sshd", "cron"], "boot": ["local"]},
            "disable": ["netmount"],
        },
        "unmerge": ["app-misc/gone"],
        "rm": ["/etc/x*", "/tmp/{{odd}}"],
        "empty": ["/var/tmp"],
        "groups": {"staff": {}},
        "users": {
            "larry": {"groups": ["staff", "wheel"], "authorized_keys": ["files/files/key.pub"]},
            "gnu": {"groups": []},
        },
    }


def test_a_live_medium_is_converted(world: World) -> None:
    world.write_all()
    live = data(world, "livecd-stage2-amd64.live")
    assert (live["root"], live["depclean"], live["hostname"]) == ("livecd-stage1-amd64", "all", "livecd")
    payload = data(world, "livecd-stage2-amd64.payload")
    assert payload["kernel"] == {
        "package": "sys-kernel/gentoo-kernel",
        "dracut_arguments": ["--xz", "-a", "mdraid", "-o", "btrfs", "-I", "busybox"],
        "packages": ["sys-fs/zfs"],
    }
    assert payload["initramfs"] == {"modules": ["dmsquash-live"]}
    assert data(world, "livecd-stage2-amd64") == {
        "kind": "livecd-stage3",
        "live": "livecd-stage2-amd64.live",
        "boot": "livecd-stage2-amd64.payload",
        "compression": "xz",
        "block_size": "512K",
        "volume_id": "Gentoo amd64 {DATESTAMP}",
        "entries": ["ram", "speech"],
        "kernel_arguments": {"extra": ["dokeymap", "nodhcp", "modprobe.blacklist=radeon,nouveau"]},
    }
    assert data(world, "diskimage-stage2-amd64.root")["depclean"] == "keep-build"


KERNELS = """\
target: livecd-stage2
version_stamp: @TIMESTAMP@
source_subpath: 1.0/stage3-amd64-openrc-latest
livecd/iso: x.iso
livecd/verify: blake2
livecd/cdtar: files/grub-theme.tar.bz2
livecd/gk_mainargs: --makeopts=-j12
boot/kernel: small gentoo dist
boot/kernel/small/config: files/small.config
boot/kernel/small/extraversion: s
boot/kernel/small/gk_kernargs: --kernel-cc='gcc -m64' --x
boot/kernel/small/console: ttyS0,9600 hvc0
boot/kernel/gentoo/sources: git-sources
boot/kernel/gentoo/console: hvc0
boot/kernel/gentoo/initramfs_overlay: files/initramfs
boot/kernel/dist/distkernel: yes
boot/kernel/dist/config: files/dist.config
livecd/motd: files/motd
"""


def test_several_kernels_are_converted(world: World) -> None:
    world.write("kernels", KERNELS)
    payload, image = data(world, "livecd-stage2-amd64.payload"), data(world, "livecd-stage2-amd64")
    more = ["--makeopts=-j12"]
    assert payload["kernels"] == {
        "small": {
            "sources": "sys-kernel/gentoo-sources",
            "build": "genkernel",
            "genkernel_arguments": ["--b2sum", *more, "--kernel-cc=gcc -m64", "--x"],
            "config": "files/files/small.config",
            "extraversion": "s",
        },
        "gentoo": {
            "sources": "sys-kernel/git-sources",
            "build": "genkernel",
            "genkernel_arguments": ["--b2sum", *more],
        },
        "dist": {"package": "sys-kernel/gentoo-kernel", "config": "files/files/dist.config"},
    }
    assert data(world, "livecd-stage2-amd64.live")["motd"] == "motd"
    assert payload["packages"] == ["sys-kernel/genkernel"]
    assert (payload["default"], payload["loaders"]) == ("gentoo", ["grub-hybrid"])
    assert payload["initramfs"] == {"overlay": "files/files/initramfs"}
    assert (image["loader"], image["entries"]) == ("grub-hybrid", ["ram", "speech", "verify"])
    assert image["consoles"] == ["ttyS0,9600", "hvc0"]
    assert image["theme"] == "files/files/grub-theme.tar.bz2"
    world.packages(["sys-kernel/gentoo-sources", "sys-kernel/git-sources"])
    (world.specs / "files/initramfs").unlink()
    (world.specs / "files/initramfs").mkdir()
    assert world.load().complete()


def test_a_missing_archive_with_a_theme_is_a_notice(world: World) -> None:
    world.write("kernels", KERNELS.replace("files/grub-theme", "/nowhere/grub-theme"))
    assert "theme" not in data(world, "livecd-stage2-amd64")
    assert any("so the boot menu has no theme" in notice.text for notice in world.load().converted.notices)


def test_a_netboot_is_converted(world: World) -> None:
    world.write_all()
    made = data(world, "netboot-amd64-small")
    assert {
        name: made[name] for name in made if name not in ("profile", "repos", "chost", "common_flags", "make_conf")
    } == {
        "kind": "netboot",
        "root": "stage3-amd64-openrc",
        "kernels": {
            "gentoo": {
                "sources": "sys-kernel/gentoo-sources",
                "build": "genkernel",
                "config": "files/files/small.config",
                "genkernel_arguments": ["--all-ramdisk-modules"],
            }
        },
        "use": ["-*", "readline"],
        "packages": ["sys-kernel/genkernel", "app-misc/hello", "app-misc/world"],
        "files": ["/usr/bin/hello", "/usr/bin/world", "/usr/lib64/libworld.so.*", "/etc/hosts"],
        "root_overlay": ["files/files/overlay"],
        "overlay": ["files/files/image"],
        "busybox_config": "files/files/busybox.config",
        "linuxrc": "files/files/linuxrc",
    }


def test_a_netboot_with_several_kernels_is_converted(world: World) -> None:
    text = SPECS["netboot"].replace("boot/kernel: gentoo", "boot/kernel: gentoo misc-2")
    text += "boot/kernel/misc-2/extraversion: x\nboot/kernel/misc-2/initramfs_overlay: files/more\n"
    text += "boot/kernel/misc-2/distkernel: yes\n"  # ignored there
    world.write("netboot", text)
    made = data(world, "netboot-amd64-small")
    kernels = made["kernels"]
    assert isinstance(kernels, dict)
    assert kernels["misc-2"] == {
        "sources": "sys-kernel/gentoo-sources",
        "build": "genkernel",
        "extraversion": "x",
    }
    assert "default" not in made
    assert made["overlay"] == ["files/files/image", "files/files/more"]
    world.write("netboot", text.replace("boot/kernel/misc-2/extraversion: x\n", ""))
    assert Reason.INVALID_VALUE in {problem.reason for problem in problems(world)}  # both would have the same version


@pytest.mark.parametrize(("subarch", "notices"), [("hppa2.0", 1), ("s390x", 0), ("amd64", 0)])
def test_netboot_for_hppa_has_a_notice_about_palo(subarch: str, notices: int, world: World) -> None:
    world.write("netboot", SPECS["netboot"], HEAD.replace("subarch: amd64", f"subarch: {subarch}"))
    loaded = world.load()
    assert len([notice for notice in loaded.converted.notices if "palo" in notice.text]) == notices
    assert loaded.converted.refused == []


def test_results_have_catalysts_paths(world: World) -> None:
    world.write_all()
    loaded = world.load()
    builds = world.storedir / "builds/1.0"
    found = loaded.placed(loaded.complete())
    assert {placed.node: placed.path for _, placed in found} == {
        "stage1-amd64-openrc.tar": builds / f"stage1-amd64-openrc-{STAMP}.tar.xz",
        "stage3-amd64-openrc.tar": builds / f"stage3-amd64-openrc-{STAMP}.tar.zst",
        "stage4-amd64-server.tar": builds / f"stage4-amd64-server-{STAMP}.wsl",
        "livecd-stage1-amd64.tar": builds / f"livecd-stage1-amd64-{STAMP}.tar.bz2",
        "livecd-stage2-amd64": builds / f"install-amd64-{STAMP}.iso",
        "diskimage-stage1-amd64-console.tar": builds / f"diskimage-stage1-amd64-console-{STAMP}.tar.bz2",
        "diskimage-stage2-amd64": builds / f"di-amd64-console-{STAMP}.qcow2",
        "embedded-amd64-tiny.tar": builds / f"embedded-amd64-tiny-{STAMP}.tar.bz2",
        "netboot-amd64-small": builds / f"netboot-amd64-small-{STAMP}",
    }
    assert {placed.node for _, placed in found if placed.layout is Layout.FOLDER} == {"netboot-amd64-small"}


def test_pkgcache_publishes_binary_packages(world: World) -> None:
    world.write_all()
    world.conf.write_text(f'storedir = "{world.storedir}"\noptions = ["pkgcache"]\n', encoding="utf-8")
    loaded = world.load()
    places = {placed.node: placed.path for _, placed in loaded.placed(loaded.complete())}
    assert places["stage3-amd64-openrc.packages"] == world.storedir / "packages/1.0/stage3-amd64"


def test_the_result_has_a_binrepos_conf(world: World) -> None:
    world.write_all()
    world.write("stage3", SPECS["stage3"] + "binrepo_path: amd64/binpackages\n")
    world.write("stage1", SPECS["stage1"] + "binrepo_path: amd64/binpackages\n")
    assert "binrepo" not in data(world, "stage3-amd64-openrc")
    world.conf.write_text(
        f'storedir = "{world.storedir}"\nbinhost = "https://example.org/releases/"\n', encoding="utf-8"
    )
    assert data(world, "stage3-amd64-openrc")["binrepo"] == "https://example.org/releases/amd64/binpackages"
    assert "binrepo" not in data(world, "stage1-amd64-openrc")
    assert world.load().complete()


def test_an_iso_below_the_default_storedir_goes_into_the_configured_one(world: World) -> None:
    world.write_all()
    text = SPECS["livecd-stage2"].replace("livecd/iso: ", "livecd/iso: /var/tmp/catalyst/builds/1.0/")
    world.write("livecd-stage2", text)
    loaded = world.load()
    places = {placed.node: placed.path for _, placed in loaded.placed(loaded.complete())}
    assert places["livecd-stage2-amd64"] == world.storedir / f"builds/1.0/install-amd64-{STAMP}.iso"


def test_the_written_project_has_the_same_keys(world: World, tmp_path: Path) -> None:
    world.write_all()
    before = keys_in(world.load().complete())
    words = [f"{name}={value}" for name, value in world.given.items()]
    options = [option for word in words for option in ("--set", word)]
    arguments = ["--store", tmp_path / "store", "catalyst", "convert", world.specs, "--conf", world.conf]
    arguments += [*options, "--repo", f"gentoo={world.repo}", "-o", tmp_path / "out"]
    assert run(list(map(str, arguments))) == Exit.OK
    assert keys_in(load(tmp_path / "out", kinds())) == before


def test_a_spec_alone_has_the_keys_that_it_has_in_a_release(world: World) -> None:
    """catalyst-auto builds one spec at a time."""
    world.write_all()
    every = keys_in(world.load().complete())
    one = keys_in(world.load(world.specs / "stage1.spec").complete())
    assert one["stage1-amd64-openrc"] == every["stage1-amd64-openrc"]


def test_replaced_tokens_give_the_same_keys(world: World) -> None:
    world.write_all()
    before = keys_in(world.load().complete())
    for name, spec in SPECS.items():
        for token, value in world.given.items():
            spec = spec.replace(f"@{token}@", value)  # noqa: PLW2901
        world.write(name, spec)
    assert keys_in(world.load().complete()) == before


def test_without_stamps_a_release_still_has_names(world: World) -> None:
    world.write_all()
    del world.given["TIMESTAMP"], world.given["DATESTAMP"]
    loaded = world.load()
    project = loaded.complete()
    places = {placed.node: placed.path.name for _, placed in loaded.placed(project)}
    assert places["stage1-amd64-openrc.tar"] == f"stage1-amd64-openrc-{project.variables['date']}T000000Z.tar.xz"


def test_errors_of_models_have_the_place_in_the_spec(world: World) -> None:
    file = world.write(
        "stage4", SPECS["stage4"].replace("app-misc/hello plain", "app-misc/absent ~app-misc/wrong hello-1")
    )
    for path in (world.repo / "app-misc").iterdir():
        for ebuild in path.iterdir():
            ebuild.unlink()
        path.rmdir()
    world.seed(f"1.0/stage3-amd64-openrc-{STAMP}.tar.zst")
    found = {(problem.reason, problem.place) for problem in problems(world, file)}
    line = next(
        number for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1) if "/packages" in text
    )
    assert found == {
        (Reason.UNKNOWN_NAME, Place(file, line, 18)),
        (Reason.BAD_ATOM, Place(file, line, 34)),
        (Reason.BAD_ATOM, Place(file, line, 50)),
    }


def test_packages_missing_in_all_repositories_are_reported(world: World) -> None:
    file = world.write("stage4", SPECS["stage4"])
    (world.repo / "app-misc/hello/hello-1.ebuild").unlink()
    (world.repo / "app-misc/hello").rmdir()
    world.seed(f"1.0/stage3-amd64-openrc-{STAMP}.tar.zst")
    assert [problem.reason for problem in problems(world, file)] == [Reason.UNKNOWN_NAME]


def test_missing_seeds_and_files_are_reported(world: World) -> None:
    file = world.write("stage4", SPECS["stage4"])
    (world.specs / "files/script.sh").unlink()
    found = problems(world, file)
    assert [problem.reason for problem in found] == [Reason.MISSING_FILE] * 2
    assert [problem.place.line for problem in found if problem.place] == [7, 11]
    project = world.load(file).project(lenient=True)
    assert len(project.missing) == 2
    assert keys_in(project)["stage4-amd64-server"].data["files"]["files/files/script.sh"] == "not there"


REFUSALS = {
    "an option among packages": ("stage4", "stage4/packages: --oneshot app-misc/hello", "stage4/packages"),
    "a name of several packages": ("stage4", "stage4/packages: twice", "stage4/packages"),
    "a squashfs of packages": ("stage4", "compression_mode: squashfs_xz", "compression_mode"),
    "no user": ("stage4", "stage4/ssh_public_keys: nobody", "stage4/ssh_public_keys"),
    "sources": ("stage4", "boot/kernel: x\nboot/kernel/x/sources: gentoo-sources", "boot/kernel/x/sources"),
    "a repository as squashfs": ("stage4", "repos: files/x.sqfs", "repos"),
    "repos.conf": ("stage4", "keep_repos: x", "keep_repos"),
    "an unknown type": ("livecd-stage2", "livecd/type: mine", "livecd/type"),
    "another file system": ("livecd-stage2", "livecd/fstype: normal", "livecd/fstype"),
    "an option of mksquashfs": ("livecd-stage2", "livecd/fsops: -no-xattrs x", "livecd/fsops"),
    "an option without value": ("livecd-stage2", "livecd/fsops: -comp", "livecd/fsops"),
    "depclean": ("livecd-stage2", "livecd/depclean: maybe", "livecd/depclean"),
    "the version of a distribution kernel": (
        "livecd-stage2",
        "boot/kernel/gentoo/extraversion: x",
        "boot/kernel/gentoo/extraversion",
    ),
    "dracut for genkernel": (
        "livecd-stage2",
        "boot/kernel/gentoo/distkernel: no",
        "boot/kernel/gentoo/dracut_args",
    ),
    "a machine that nothing starts": ("livecd-stage2", "subarch: ppc", "subarch"),
    "a payload from elsewhere": (
        "livecd-stage3",
        "target: livecd-stage3\nversion_stamp: x\nsource_subpath: 1.0/stage3-amd64-openrc-latest\n"
        "boot/kernel: gentoo\nlivecd/cdtar: files/payload.tar\nlivecd/iso: x.iso",
        "livecd/cdtar",
    ),
    "what sparc starts from the network": ("netboot", "subarch: sparc64", "subarch"),
    "modules that come too late": (
        "netboot",
        "boot/kernel/gentoo/packages: app-misc/hello",
        "boot/kernel/gentoo/packages",
    ),
    "dracut for netboot": ("netboot", "boot/kernel/gentoo/dracut_args: --xz", "boot/kernel/gentoo/dracut_args"),
}


@pytest.mark.parametrize(
    "options",
    ["-comp xz -b 512k -Xcompression-level 9", "-c xz --block-size 512K -X level=9", "--comp-extra 9 -c xz -b 512k"],
)
def test_options_of_both_programs_for_a_squashfs_are_honoured(options: str, world: World) -> None:
    spec = SPECS["livecd-stage2"].replace("-comp xz -b 512k", options)
    converted = world.load(world.write("livecd-stage2", spec)).converted
    assert converted.refused == []
    image = next(draft.data for draft in converted.drafts if draft.data.get("kind") == "livecd-stage3")
    assert (image["compression"], image["block_size"], image["level"]) == ("xz", "512K", 9)


def test_a_live_system_without_autoconfig_is_noted(world: World) -> None:
    def noted(spec: str) -> bool:
        notices = world.load(world.write("livecd-stage2", spec)).notices
        return any("autoconfig is not added" in notice.text for notice in notices)

    assert noted(SPECS["livecd-stage2"])
    assert noted(SPECS["livecd-stage2"] + "livecd/rcadd: sshd|default\n")
    assert not noted(SPECS["livecd-stage2"] + "livecd/rcadd: sshd|default autoconfig|default\n")


@pytest.mark.parametrize("case", REFUSALS)
def test_unsupported_values_are_refused(case: str, world: World) -> None:
    name, line, key = REFUSALS[case]
    world.packages(["app-misc/twice", "dev-util/twice", "sys-kernel/gentoo-sources"])
    kept = [text for text in SPECS.get(name, "").splitlines() if text.partition(":")[0] != line.partition(":")[0]]
    file = world.write(name, "\n".join([*kept, line, ""]))
    refused = world.load(file).converted.refused
    assert [error.reason for error in refused] == [Reason.NOT_SUPPORTED] * len(refused)
    assert {error.message.partition(":")[0] for error in refused} == {key}
    assert all(error.hint and error.place and error.place.line > 4 for error in refused)


def test_a_missing_message_of_the_day_is_reported(world: World) -> None:
    file = world.write("x", SPECS["livecd-stage2"] + "livecd/motd: files/none\n")
    (world.specs / "files/none").unlink()
    assert [error.message.partition(":")[0] for error in world.load(file).converted.refused] == ["livecd/motd"]


def test_a_run_has_one_snapshot(world: World) -> None:
    world.write("stage1", SPECS["stage1"])
    world.write("stage3", SPECS["stage3"], HEAD.replace("0123", "9999"))
    (error,) = world.load().converted.refused
    assert error.message.startswith("snapshot_treeish")


def test_a_livecd_stage3_uses_the_payload_of_a_livecd_stage2(world: World) -> None:
    world.write_all()
    text = """\
target: livecd-stage3
version_stamp: @TIMESTAMP@
source_subpath: 1.0/livecd-stage1-amd64-@TIMESTAMP@
livecd/cdtar: 1.0/livecd-stage2-amd64-@TIMESTAMP@.tar.bz2
livecd/iso: duet.iso
boot/kernel: gentoo
"""
    world.write("livecd-stage3", text)
    iso = data(world, "livecd-stage3-amd64")
    assert (iso["live"], iso["boot"]) == ("livecd-stage3-amd64.live", "livecd-stage2-amd64.payload")
    assert world.load().complete()


def test_repositories_of_specs_are_added_to_the_project(world: World) -> None:
    world.write_all()
    world.write("stage3", SPECS["stage3"] + "repos: ../local\n")
    (world.folder / "local/profiles").mkdir()
    (world.folder / "local/profiles/repo_name").write_text("mine\n", encoding="utf-8")
    project = world.load().complete()
    assert project.path(project.repos["mine"].path) == world.folder / "local"
    assert project.repos["gentoo"].main
    stages = {draft.name: draft.data.get("repos") for draft in world.load().converted.drafts}
    assert stages["stage3-amd64-openrc"] == ["gentoo", "mine"]
    assert stages["stage1-amd64-openrc"] == ["gentoo"]


def test_latest_is_the_newest_seed(world: World) -> None:
    file = world.write("stage1", SPECS["stage1"] + "decompressor_search_order: bzip2 xz\n")
    for stamp in ("20250101T000000Z", "20260201T000000Z"):
        world.seed(f"1.0/stage3-amd64-openrc-{stamp}.tar.xz")
    world.seed("1.0/stage3-amd64-openrc-other-20270101T000000Z.tar.xz")

    def seed() -> object:
        return world.load(file).complete().entries["seeds"]["stage3-amd64-openrc-seed"].model.file  # type: ignore[attr-defined]

    assert seed() == "builds/1.0/stage3-amd64-openrc-20260201T000000Z.tar.xz"
    world.seed("1.0/stage3-amd64-openrc-20260201T000000Z.tar.bz2")
    assert seed() == "builds/1.0/stage3-amd64-openrc-20260201T000000Z.tar.bz2"
    world.seed("1.0/stage3-amd64-openrc-latest.tar.xz")
    assert seed() == "builds/1.0/stage3-amd64-openrc-latest.tar.xz"


@pytest.mark.slow
def test_plan_build_and_convert_commands(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world.write_all()
    options = ["--conf", str(world.conf), "--set", f"REPO_DIR={world.folder}", "--repo", f"gentoo={world.repo}"]
    store = ["--store", str(tmp_path / "store")]
    assert run([*store, "catalyst", "plan", str(world.specs), *options, "--json"]) == Exit.OK
    plan = json.loads(capsys.readouterr().out)
    nodes = {node["node"]: node for node in plan["nodes"]}
    assert nodes["livecd-stage2-amd64"]["outputs"] == [
        str(world.storedir / "builds/1.0" / f"install-amd64-{date(plan)}.iso")
    ]
    assert nodes["livecd-stage2-amd64.live"]["spec"] == str(world.specs / "livecd-stage2.spec")
    assert [error["reason"] for error in plan["missing"]] == ["missing-file"]  # the seed
    assert plan["refused"] == []
    assert run([*store, "catalyst", "build", str(world.specs), *options]) == Exit.INVALID
    assert "stage1.spec:7:17" in capsys.readouterr().err
    assert run([*store, "catalyst", "plan", str(world.specs), *options]) == Exit.OK
    assert "write another path" in capsys.readouterr().out
    assert run([*store, "catalyst", "plan", str(world.specs), "--repo", "gentoo"]) == Exit.INVALID
    assert run([*store, "catalyst", "plan", str(world.specs), "--repo", "gentoo=/nowhere"]) == Exit.INVALID
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    assert (
        run([*store, "catalyst", "convert", str(world.specs), *options, "-o", str(tmp_path / "full")]) == Exit.INVALID
    )


def date(plan: dict[str, object]) -> str:
    nodes = plan["nodes"]
    assert isinstance(nodes, list)
    names = [output for node in nodes for output in node["outputs"] if output.endswith(".iso")]
    return str(names[0]).rpartition("install-amd64-")[2].removesuffix(".iso")


def test_check_reports_errors_of_models_and_refused_keys(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    file = world.write(
        "stage4", SPECS["stage4"].replace("app-misc/hello plain", "app-misc/hello-1") + "keep_repos: x\n"
    )
    assert run(["catalyst", "check", str(file), "--json"]) == Exit.INVALID
    found = json.loads(capsys.readouterr().out)
    assert [error["reason"] for error in found["errors"]] == ["bad-atom", "not-supported"]


NAMES = {
    "23.0/stage3-amd64-openrc-@TIMESTAMP@": "stage3-amd64-openrc",
    "23.0/stage3-amd64-20260628T164555Z": "stage3-amd64",
    "23.0/stage3-amd64-@TIMESTAMP@-more": "stage3-amd64-more",
    "23.0/livecd-stage2-amd64-2026.1": "livecd-stage2-amd64",
    "x/stage3-a b-@OTHER@": "stage3-a-b-OTHER",
}


@pytest.mark.parametrize("identity", NAMES)
def test_names_of_entries_have_no_stamps(identity: str) -> None:
    assert bare(identity) == NAMES[identity]


def test_specs_of_one_name_get_unique_names(world: World) -> None:
    world.write("one", SPECS["stage1"])
    world.write("two", SPECS["stage1"], HEAD.replace("rel_type: 1.0", "rel_type: 2.0"))
    world.write("b", SPECS["stage1"].replace("stage1\n", "stage2\n").replace("update_seed", "#"))
    names = {draft.name for draft in world.load().converted.drafts if draft.table == "stages"}
    assert {"1.0-stage1-amd64-openrc", "2.0-stage1-amd64-openrc", "stage2-amd64-openrc"} <= names


def test_files_of_one_name_get_unique_names() -> None:
    names = FileNames({})
    assert names.name_of(Path("/a/b/c")) == "files/b/c"
    assert names.name_of(Path("/x/b/c")) == "files/x/b/c"
    assert names.name_of(Path("/a/b/c")) == "files/b/c"
    assert names.name_of(Path("/one")) == "files/one"


TEXTS = {"plain": "plain", "a{b}": "a{{b}}", "@TIMESTAMP@-x": "{TIMESTAMP}-x", "${x}": "${{x}}"}


@pytest.mark.parametrize("word", TEXTS)
def test_words_become_texts_of_a_project(word: str) -> None:
    assert text(word) == TEXTS[word]


def drafts(*names: str, **different: list[str]) -> list[EntryDraft]:
    found = []
    for number, name in enumerate(names):
        draft = EntryDraft("stages", name, f"{name}.spec", Place(Path("x")))
        draft.data = {"kind": "stage3", "root": f"{name}-seed", "profile": "default", "use": ["a", "b"]}
        draft.data |= {key: values[number] for key, values in different.items()}
        found.append(draft)
    return found


def test_entries_that_differ_in_words_are_merged_into_a_matrix() -> None:
    (one,) = merge_entries(drafts("stage3-amd64-openrc", "stage3-arm64-openrc", chost=["x86", "arm"]))
    assert one.name == "stage3-{variant}-openrc"
    assert one.data["root"] == "stage3-{variant}-openrc-seed"
    assert one.data["chost"] == "{chost}"
    assert one.matrix == [{"variant": "amd64", "chost": "x86"}, {"variant": "arm64", "chost": "arm"}]
    (same,) = merge_entries(drafts("a-1", "a-2", "a-3"))
    assert same.matrix == {"variant": ["1", "2", "3"]}


def test_entries_of_different_shapes_are_not_merged() -> None:
    first, second = drafts("a-1", "a-2")
    second.data["depclean"] = True
    assert len(merge_entries([first, second])) == 2


def test_comments_name_the_specs(world: World, tmp_path: Path) -> None:
    world.write_all()
    out = tmp_path / "out"
    options = ["--conf", str(world.conf), "--set", f"REPO_DIR={world.folder}", "--repo", f"gentoo={world.repo}"]
    assert (
        run(["--store", str(tmp_path / "s"), "catalyst", "convert", str(world.specs), *options, "-o", str(out)])
        == Exit.OK
    )
    written = (out / "stagewright.toml").read_text(encoding="utf-8")
    assert all(f"# {name}.spec\n" in written for name in SPECS)
    assert tomllib.loads(written)["variables"]["TIMESTAMP"] == "{date}T000000Z"
    assert (out / "files/portage/stages/file").read_text(encoding="utf-8") == "stages"
    assert (out / "repos/gentoo").is_symlink()


def test_specs_whose_names_are_not_utf8_are_converted(world: World, tmp_path: Path) -> None:
    world.write("stage\udcff1", SPECS["stage1"])
    out = tmp_path / "out"
    options = ["--conf", str(world.conf), "--set", f"REPO_DIR={world.folder}", "--repo", f"gentoo={world.repo}"]
    arguments = ["--store", str(tmp_path / "s"), "catalyst", "convert", str(world.specs), *options, "-o", str(out)]
    assert run(arguments) == Exit.OK
    written = (out / "stagewright.toml").read_text(encoding="utf-8")
    assert "/stage?1.spec\n" in written
    assert "stages" in tomllib.loads(written)


def notes(world: World) -> list[str]:
    return [notice.text for notice in world.load().notices]


def test_settings_of_the_configuration_reach_the_project(world: World) -> None:
    world.write_all()
    (world.folder / "distfiles").mkdir()
    world.conf.write_text(
        f'storedir = "{world.storedir}"\ndistdir = "{world.folder}/distfiles"\nfsscript_network = true\njobs = 3\n',
        encoding="utf-8",
    )
    project = world.load().complete()
    assert project.distfiles.folder == str(world.folder / "distfiles")
    assert project.entries["stages"]["stage4-amd64-server"].model.script_network  # type: ignore[attr-defined]
    assert any(text.startswith("jobs has no effect") for text in notes(world))


def test_scripts_that_need_a_network_are_noted(world: World) -> None:
    world.write("stage4", SPECS["stage4"])
    script = world.specs / "files/script.sh"
    script.write_text("# wget would be nice\necho curling\n", encoding="utf-8")
    assert not any("fsscript" in text for text in notes(world))
    script.write_text("#!/bin/sh\nwget -O /x https://example.org/x\necho ${clst_version_stamp}\n", encoding="utf-8")
    found = [text for text in notes(world) if "fsscript" in text]
    assert len(found) == 2
    assert "fsscript_network" in found[0]
    assert "clst_version_stamp is not set" in found[1]
    world.conf.write_text(world.conf.read_text(encoding="utf-8") + "fsscript_network = true\n", encoding="utf-8")
    assert len([text for text in notes(world) if "fsscript" in text]) == 1


def test_results_keep_the_files_of_confdirs_as_in_catalyst(world: World) -> None:
    world.write_all()
    world.write("stage3", SPECS["stage3"] + "portage_prefix: releng\n")
    world.write("livecd-stage2", SPECS["livecd-stage2"] + "portage_confdir: @REPO_DIR@/portage/isos\n")
    assert "ship_confdir" not in data(world, "stage1-amd64-openrc")
    stage3 = data(world, "stage3-amd64-openrc")
    assert (stage3["ship_confdir"], stage3["confdir_prefix"]) == (True, "releng")
    assert data(world, "livecd-stage2-amd64.live")["ship_confdir"]
    assert "ship_confdir" not in data(world, "livecd-stage2-amd64.payload")
    assert world.load().complete()


RENAMES = {
    "s_.tar.xz$_.wsl_": ("stage4-amd64-server-{TIMESTAMP}", "wsl"),
    "s_server_desk_": ("stage4-amd64-desk-{TIMESTAMP}", None),
    "s_stage4-amd64-server_gentoo_; s_.tar.xz_.rootfs.tar_": ("gentoo-{TIMESTAMP}.rootfs", "tar"),
}


@pytest.mark.parametrize("script", RENAMES)
def test_tarballs_have_the_names_that_rename_regexp_makes(script: str, world: World) -> None:
    """Like the .wsl files of Gentoo's releases."""
    text = SPECS["stage4"].replace("s_.tar.bz2$_.wsl_", script) + "compression_mode: pixz\n"
    world.write("stage4", text)
    tarball = data(world, "stage4-amd64-server.tar")
    assert (tarball["name"], tarball.get("suffix")) == RENAMES[script]
    world.seed(f"1.0/stage3-amd64-openrc-{STAMP}.tar.zst")
    loaded = world.load()
    project = loaded.complete()
    (placed,) = [place for _, place in loaded.placed(project) if place.node == "stage4-amd64-server.tar"]
    scope = Scope(project)
    assert placed.path.name == project.entries["stages"][placed.node].model.file_name(placed.node, scope)  # type: ignore[attr-defined]


def test_media_for_other_architectures_are_refused_by_projects_too(world: World, tmp_path: Path) -> None:
    world.write_all()
    loaded = world.load()
    out = tmp_path / "out"
    list(write_and_read(loaded, loaded.complete(), out, tmp_path / "none"))
    file = out / "stagewright.toml"
    file.write_text(file.read_text(encoding="utf-8").replace('arch = "amd64"', 'arch = "riscv"'), encoding="utf-8")
    with pytest.raises(ProblemsError) as caught:
        load(out, kinds())
    found = {(error.reason, error.message) for error in caught.value.problems}
    assert found == {(Reason.NOT_SUPPORTED, "media for riscv are not supported")}
    assert run(["-C", str(out), "check"]) == run(["-C", str(out), "plan"]) == Exit.INVALID


def test_an_embedded_root_gets_its_kernel_from_a_package(world: World) -> None:
    kernel = "boot/kernel: own\nboot/kernel/own/sources: sys-kernel/gentoo-kernel\n"
    world.write("embedded", SPECS["embedded"] + kernel)
    assert data(world, "embedded-amd64-tiny")["kernel"] == {"package": "sys-kernel/gentoo-kernel"}
    assert not world.load().converted.refused
    world.write("embedded", SPECS["embedded"] + kernel.replace("gentoo-kernel", "gentoo-sources"))
    assert [error.reason for error in world.load().converted.refused] == [Reason.NOT_SUPPORTED]
