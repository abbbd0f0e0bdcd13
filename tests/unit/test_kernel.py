"""Kernels of a payload: required features, and builds with the real make and a stand-in for genkernel.

A real kernel takes minutes, so the sources here are a stand-in: a Makefile with the targets that a kernel's has, which
writes files of the same names to the same places.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError
from roots import EPOCH, as_root, in_sandbox, make_root, with_shell

from stagewright.engine.token_pool import TokenPool
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.kernel.build import build_with_genkernel, build_with_make
from stagewright.kernel.choose import Kernel
from stagewright.kernel.configure import (
    Configuration,
    KernelSources,
    check_build_tools,
    check_configuration,
    configure,
)
from stagewright.kernel.features import (
    INITRAMFS_OPTIONS,
    LIVE_SYSTEM_OPTIONS,
    SQUASHFS_OPTIONS,
    VERITY_OPTIONS,
    KernelFeatures,
    LiveRequirements,
    check_features,
    disabled_requirements,
    module_names,
    read_features,
)
from stagewright.kernel.find import copy_image, copy_out, find_image
from stagewright.root.job_tokens import FIFO, INSIDE, folder_of
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind

REPOSITORY = Path(__file__).resolve().parents[2]

UEFI = LiveRequirements("ZSTD", efi=True)

LIVE = "".join(f"CONFIG_{option}=y\n" for option in INITRAMFS_OPTIONS)
LIVE += "CONFIG_SQUASHFS=y\nCONFIG_OVERLAY_FS=m\nCONFIG_BLK_DEV_LOOP=m\nCONFIG_ISO9660_FS=y\n"
GOOD = f"{LIVE}CONFIG_RD_ZSTD=y\nCONFIG_EFI_STUB=y\nCONFIG_SQUASHFS_ZSTD=y\nCONFIG_SQUASHFS_XZ=y\n"

MAKEFILE = """
V := 6.6.0$(LOCALVERSION)
all: .config
\techo "image of $(V) at $(KBUILD_BUILD_TIMESTAMP) by $(KBUILD_BUILD_USER)@$(KBUILD_BUILD_HOST)" > bzImage
olddefconfig:
\techo CONFIG_DEFAULT=y >> .config
defconfig:
\techo CONFIG_FROM_DEFCONFIG=y > .config
kernelrelease:
\t@echo $(V)
image_name:
\t@echo bzImage
modules_install:
\tmkdir -p /lib/modules/$(V)/kernel
\techo module > /lib/modules/$(V)/kernel/loop.ko
"""

GENKERNEL = """#!/bin/sh
echo "$@" > /said
echo made by genkernel > /boot/vmlinuz-6.6.0
echo made by genkernel > /boot/initramfs-6.6.0.img
"""


def options(text: str) -> KernelFeatures:
    return KernelFeatures(dict(re.findall(r"CONFIG_(\w+)=(\w)", text)), frozenset(), frozenset())


@pytest.mark.parametrize(
    "missing", ["SQUASHFS", "OVERLAY_FS", "BLK_DEV_LOOP", "ISO9660_FS", "RD_ZSTD", "EFI_STUB", "DEVTMPFS"]
)
def test_a_kernel_that_cannot_start_a_live_system_is_refused(missing: str) -> None:
    features = options(re.sub(rf"CONFIG_{missing}=.\n", "", GOOD))
    with pytest.raises(StagewrightError, match=rf"CONFIG_{missing}\b") as caught:
        check_features("6.6", features, UEFI)
    assert caught.value.reason is Reason.ENVIRONMENT_LACKS
    check_features("6.6", options(GOOD), UEFI)


def test_bios_needs_no_efi_stub() -> None:
    check_features("6.6", options(GOOD.replace("CONFIG_EFI_STUB=y\n", "")), LiveRequirements("ZSTD", efi=False))


def test_without_a_configuration_modules_show_the_features() -> None:
    features = KernelFeatures(None, frozenset({"squashfs", "loop"}), frozenset({"overlay", "isofs"}))
    check_features("6.6", features, UEFI)
    assert features.compressions is None
    assert [features.is_module("X", name) for name in ("loop", "overlay")] == [True, False]
    with pytest.raises(StagewrightError, match="ISO9660_FS"):
        check_features("6.6", KernelFeatures(None, features.modules, frozenset({"overlay"})), UEFI)


def test_module_names_have_underscores() -> None:
    assert module_names(["kernel/fs/a-b.ko", "c.ko.xz", "d.ko.zst", "e.txt"]) == {"a_b", "c", "d"}


@as_root
def test_features_are_read_from_the_root(tmp_path: Path) -> None:
    texts = {
        "boot/config-6.6": GOOD,
        "boot/vmlinuz-6.6": "image",
        "lib/modules/6.6/modules.builtin": "kernel/fs/isofs/isofs.ko\n",
        "lib/modules/6.6/kernel/drivers/block/loop.ko.xz": "",
    }
    root = make_root(tmp_path, texts)
    features = read_features(root, "6.6")
    assert features.compressions == ("zstd", "xz")
    assert (features.modules, features.builtin) == ({"loop"}, {"isofs"})
    assert find_image(root, "6.6", "it") == "/boot/vmlinuz-6.6"
    with pytest.raises(StagewrightError) as caught:
        find_image(root, "6.7", "it")
    assert caught.value.reason is Reason.ENVIRONMENT_LACKS


@pytest.fixture
def sources(tmp_path: Path) -> Root:
    """A root with the real make, some programs of busybox, and the stand-in sources at /usr/src/linux."""
    make = shutil.which("make")
    if make is None:
        pytest.skip("NOT TESTED: no make")
    root = with_shell(
        make_root(tmp_path / "root", {"usr/src/linux/Makefile": MAKEFILE, "usr/bin/genkernel*": GENKERNEL})
    )
    linked = subprocess.run(["ldd", make], check=True, capture_output=True, text=True).stdout
    for name in [make, *re.findall(r"(/\S+) \(", linked)]:
        target = root.path / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, target)
    for name in ("cp", "echo", "mkdir"):
        shutil.copy(root.path / "bin/sh", root.path / "bin" / name)
    (root.path / "boot").mkdir()
    return Root(root.path, root.upper, log=io.StringIO())


@as_root
@in_sandbox
def test_make_builds_and_installs_a_kernel(sources: Root, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"{GOOD}CONFIG_MODULES=y\n", encoding="utf-8")
    described = KernelSources("/usr/src/linux", config, "live", 2, EPOCH)
    version = build_with_make(sources, described, configure(sources, described))
    assert version == "6.6.0-live"
    image = (sources.path / f"boot/vmlinuz-{version}").read_text(encoding="utf-8")
    assert image == f"image of 6.6.0-live at @{EPOCH} by stagewright@stagewright\n"
    features = read_features(sources, version)
    assert features.options and features.options["DEFAULT"] == "y"
    assert features.modules == {"loop"}
    check_features(version, features, UEFI)


@as_root
@in_sandbox
def test_make_builds_a_kernel_without_modules_or_configuration(sources: Root) -> None:
    described = KernelSources("/usr/src/linux", None, "", 1, EPOCH)
    version = build_with_make(sources, described, configure(sources, described))
    config = (sources.path / f"boot/config-{version}").read_text(encoding="utf-8")
    assert config == "CONFIG_FROM_DEFCONFIG=y\nCONFIG_DEFAULT=y\n"
    assert (sources.path / f"lib/modules/{version}/modules.builtin").exists()
    assert not (sources.path / f"lib/modules/{version}/kernel").exists()


@as_root
@in_sandbox
def test_a_failing_make_is_reported(sources: Root) -> None:
    (sources.path / "usr/src/linux/Makefile").write_text(
        "olddefconfig defconfig:\n\ttouch .config\nall:\n\tfalse\n", encoding="utf-8"
    )
    with pytest.raises(StagewrightError) as caught:
        described = KernelSources("/usr/src/linux", None, "", 1, EPOCH)
        build_with_make(sources, described, configure(sources, described))
    assert caught.value.reason is Reason.COMMAND_FAILED


@as_root
@in_sandbox
def test_genkernel_gets_the_settings_of_the_project(sources: Root, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(GOOD, encoding="utf-8")
    made = build_with_genkernel(sources, KernelSources("/usr/src/linux", config, "", 3, EPOCH), ["--lvm"], tmp_path)
    assert made == "6.6.0"
    said = (sources.path / "said").read_text(encoding="utf-8").split()
    assert said[-2:] == ["--lvm", "all"]
    assert {"--no-mountboot", "--no-module-rebuild", "--kerneldir=/usr/src/linux", "--makeopts=-j3"} <= set(said)
    assert {word.partition("=")[0] for word in said} >= {"--mrproper", "--kernel-config", "--initramfs-overlay"}
    with pytest.raises(StagewrightError) as caught:  # nothing new came of it
        build_with_genkernel(sources, KernelSources("/usr/src/linux", None, "", 3, EPOCH), [], None)
    assert caught.value.reason is Reason.BUILD_FAILED


@as_root
def test_all_missing_build_tools_are_reported_at_once(tmp_path: Path) -> None:
    tree = "usr/src/linux"
    parts = ("Makefile", "scripts/kconfig/lexer.l", "scripts/kconfig/parser.y", "kernel/time/timeconst.bc")
    root = make_root(tmp_path, {f"{tree}/{name}": "" for name in parts})
    with pytest.raises(ProblemsError) as caught:
        check_build_tools(root, f"/{tree}", "'env'")
    assert {problem.reason for problem in caught.value.problems} == {Reason.ENVIRONMENT_LACKS}
    said = str(caught.value)
    assert all(f"lacks {name}" in said for name in ("make", "flex", "bison", "bc", "gcc", "ld"))
    with pytest.raises(StagewrightError, match="no kernel sources at /usr/src/other"):
        check_build_tools(root, "/usr/src/other", "'env'")


@as_root
@in_sandbox
def test_options_that_kconfig_removes_are_reported(sources: Root, tmp_path: Path) -> None:
    """Kconfig silently removes options whose dependencies are not set."""
    makefile = MAKEFILE.replace("echo CONFIG_DEFAULT=y >> .config", "echo CONFIG_OTHER=m > .config")
    (sources.path / "usr/src/linux/Makefile").write_text(makefile, encoding="utf-8")
    config = tmp_path / "config"
    config.write_text(
        'CONFIG_SQUASHFS=y\nCONFIG_OTHER=y\nCONFIG_NAME="x"\n# CONFIG_ISO9660_FS is not set\n', encoding="utf-8"
    )
    done = configure(sources, KernelSources("/usr/src/linux", config, "", 1, EPOCH))
    assert done == Configuration({"OTHER": "m"}, ("SQUASHFS",))
    with pytest.raises(ProblemsError) as caught:
        check_configuration(sources, "/usr/src/linux", done, UEFI, "'env'")
    (problem,) = caught.value.problems
    assert problem.reason is Reason.ENVIRONMENT_LACKS
    assert problem.hint and "CONFIG_SQUASHFS is set there, but Kconfig removed it" in problem.hint
    check_configuration(sources, "/usr/src/linux", done, None, "'env'")  # not for a live system


@as_root
def test_dependencies_of_a_configuration_are_checked_before_compilation(tmp_path: Path) -> None:
    features = {"usr/bin/openssl*": "", "usr/bin/xz*": "", "usr/include/gelf.h": "", "usr/include/zlib.h": ""}
    root = make_root(tmp_path, features)
    wanted = ("KERNEL_ZSTD", "MODULE_SIG", "DEBUG_INFO_BTF", "UNWINDER_ORC", "IKHEADERS", "MODULE_COMPRESS_XZ")
    done = Configuration(dict.fromkeys(wanted, "y") | options(GOOD.replace("CONFIG_SQUASHFS=y", "")).options, ())
    with pytest.raises(ProblemsError) as caught:
        check_configuration(root, "/usr/src/linux", done, UEFI, "'env'")
    said = [str(problem) for problem in caught.value.problems]
    assert len(said) == 5
    for words in (
        "missing CONFIG_SQUASHFS (squashfs)",
        "lacks zstd,",
        "header openssl/opensslv.h,",
        "pahole,",
        "cpio,",
    ):
        assert sum(words in one for one in said) == 1, words
    assert any("requires for CONFIG_DEBUG_INFO_BTF" in one for one in said)


def test_disabled_requirements_of_a_configuration_are_found() -> None:
    text = "# CONFIG_SQUASHFS is not set\nCONFIG_TMPFS=n\nCONFIG_UNIX=y\n# CONFIG_EXT4_FS is not set\n"
    assert disabled_requirements(text) == ["SQUASHFS", "TMPFS"]
    assert not disabled_requirements(GOOD)


@as_root
@in_sandbox
def test_make_compiles_through_ccache(sources: Root) -> None:
    makefile = MAKEFILE.replace("image of $(V)", "$(CC) in $(CCACHE_DIR)")
    (sources.path / "usr/src/linux/Makefile").write_text(makefile, encoding="utf-8")
    described = KernelSources("/usr/src/linux", None, "", 1, EPOCH, ccache={"CCACHE_DIR": "/var/cache/ccache"})
    version = build_with_make(sources, described, configure(sources, described))
    assert (
        (sources.path / f"boot/vmlinuz-{version}")
        .read_text(encoding="utf-8")
        .startswith("ccache gcc in /var/cache/ccache at")
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"package": "sys-kernel/a", "sources": "sys-kernel/b"},
        {"sources": "sys-kernel/b", "tree": "/usr/src/linux"},
        {"config": "x"},
        {"extraversion": "x"},
        {"build": "genkernel"},
        {"tree": "/usr/src/linux", "version": "6.1"},
        {"tree": "/usr/src/linux", "genkernel_arguments": ["--lvm"]},
        {"tree": "/usr/src/linux", "build": "genkernel", "dracut_arguments": ["--x"]},
        {"tree": "usr/src/linux"},
        {"tree": "/usr/src/linux", "extraversion": "a b"},
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Kernel.model_validate(settings)


def test_a_copied_image_is_a_regular_file_and_replaces_a_link(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root", {"boot/image": "MZ"})
    os.mkfifo(root.path / "boot" / "pipe")
    outside = tmp_path / "outside"
    outside.write_text("mine", encoding="utf-8")
    (tmp_path / "taken").symlink_to(outside)
    copy_out(root, "/boot/image", tmp_path / "taken")
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "MZ"
    assert outside.read_text(encoding="utf-8") == "mine"
    with pytest.raises(StagewrightError, match="regular"):
        copy_out(root, "/boot/pipe", tmp_path / "taken")


def test_a_copied_image_can_be_started_by_uefi(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root", {"boot/stub": "MZ and more", "boot/none": "a.out"})
    (root.path / "boot/packed").write_bytes(gzip.compress(b"MZ unpacked"))
    for name, content in {"stub": b"MZ and more", "packed": b"MZ unpacked"}.items():
        copy_image(root, f"/boot/{name}", tmp_path / name, efi=True)
        assert (tmp_path / name).read_bytes() == content
    copy_image(root, "/boot/none", tmp_path / "none", efi=False)
    with pytest.raises(StagewrightError) as caught:
        copy_image(root, "/boot/none", tmp_path / "none", efi=True)
    assert caught.value.reason is Reason.ENVIRONMENT_LACKS


@pytest.mark.parametrize("name", ["kernel.config", "repo/sys-kernel/demo-kernel/files/live.config"])
def test_the_kernels_of_the_example_have_the_options_of_live_media(name: str) -> None:
    """make demo-kernel takes too long for each run of the tests."""
    text = (REPOSITORY / "examples/kernel" / name).read_text(encoding="utf-8")
    options = dict(re.findall(r"^CONFIG_(\w+)=(.+)$", text, re.MULTILINE))
    required = {*LIVE_SYSTEM_OPTIONS, *VERITY_OPTIONS, SQUASHFS_OPTIONS["zstd"], "DEVTMPFS", "TMPFS", "EFI_STUB"}
    assert {option for option in required if options.get(option) not in ("y", "m")} == set()


@as_root
@in_sandbox
def test_the_jobs_of_a_kernel_take_tokens_and_give_them_back(sources: Root, tmp_path: Path) -> None:
    """Three recipes run at the same time, with the one token of make itself among the three that there are."""
    recipes = "all: 1 2 3\n1 2 3: .config\n\ttouch here$@; until [ -e here1 -a -e here2 -a -e here3 ]; do :; done\n"
    (sources.path / "usr/src/linux/Makefile").write_text(MAKEFILE + recipes, encoding="utf-8")
    for name in ("dd", "touch", "["):
        shutil.copy(sources.path / "bin/sh", sources.path / "bin" / name)
    pool = TokenPool(3)
    pool.add(tmp_path)
    try:
        root = sources.with_binds(Bind(folder_of(tmp_path), INSIDE))
        described = KernelSources("/usr/src/linux", None, "", 3, EPOCH, tokens=True)
        build_with_make(root, described, configure(root, described))
        fifo = os.open(folder_of(tmp_path) / FIFO, os.O_RDWR | os.O_NONBLOCK)
        assert os.read(fifo, 100) == b"+++"
        os.close(fifo)
    finally:
        pool.remove(tmp_path)
