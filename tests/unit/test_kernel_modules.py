"""Rebuilt packages with kernel modules, by the records of installed packages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from pydantic import ValidationError
from roots import as_root, make_root

from stagewright.errors import Reason, StagewrightError
from stagewright.kernel.find import find_image
from stagewright.kernel.modules import (
    KernelSettings,
    SystemKernel,
    check_kernel,
    configure_installation,
    rebuild_modules,
)
from stagewright.portage.emerge import Portage
from stagewright.root import files
from stagewright.root.root import Root

V = "6.6.0"
MADE = 1_000_000_000


@dataclass
class Asked:
    """A stand-in for Portage that records the packages to install."""

    atoms: list[str] = field(default_factory=list)

    def install(self, atoms: Sequence[str], *, options: Sequence[str]) -> None:
        assert "--usepkg=n" in options
        self.atoms += atoms


def root_with(path: Path, *, counter: int, built: float, fits: str = V) -> Root:
    """A root with a kernel from a package, merged as number 5, and a package with a module."""
    return make_root(
        path,
        {
            "var/db/pkg/sys-kernel/dist-1/CONTENTS": f"obj /lib/modules/{V}/modules.builtin 0 0\n",
            "var/db/pkg/sys-kernel/dist-1/COUNTER": "5",
            "var/db/pkg/sys-fs/zfs-1/CONTENTS": f"obj /lib/modules/{fits}/extra/zfs.ko 0 0\n",
            "var/db/pkg/sys-fs/zfs-1/COUNTER": f"{counter}",
            "var/db/pkg/sys-fs/zfs-1/BUILD_TIME": f"{int(built)}\n",
        },
    )


UKIFY = "layout=uki\ninitrd_generator=dracut\nuki_generator=ukify\n"
DRACUT = "layout=uki\ninitrd_generator=dracut\nuki_generator=dracut\n"


@as_root
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {}),
        ({"layout": "grub"}, {"install.conf": "layout=grub\ninitrd_generator=dracut\nuki_generator=none\n"}),
        (
            {"layout": "uki", "cmdline": "root=A"},
            {"install.conf": UKIFY, "cmdline": "root=A\n", "entry-token": "gentoo\n"},
        ),
        (
            {"layout": "uki", "cmdline": "quiet", "uki_generator": "dracut"},
            {"install.conf": DRACUT, "cmdline": "quiet\n", "entry-token": "gentoo\n", "cmdline.d": "quiet\n"},
        ),
        (
            {"layout": "bls", "cmdline": "", "initrd_generator": "none"},
            {
                "install.conf": "layout=bls\ninitrd_generator=none\nuki_generator=none\n",
                "cmdline": "\n",
                "entry-token": "gentoo\n",
            },
        ),
    ],
)
def test_kernels_are_installed_as_the_project_says(
    tmp_path: Path, settings: dict[str, str], expected: dict[str, str]
) -> None:
    """Each generator is named, so that none runs because of a USE flag of installkernel."""
    root = make_root(tmp_path, {"etc/os-release": 'NAME=Gentoo\nID="gentoo"\n'})
    configure_installation(SystemKernel(**settings), root, 1000)
    found = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "etc").glob("kernel/*")}
    found |= {path.parent.name: path.read_text(encoding="utf-8") for path in (tmp_path / "etc").glob("cmdline.d/*")}
    assert found == expected


@as_root
def test_an_entry_token_of_the_root_stays(tmp_path: Path) -> None:
    root = make_root(tmp_path, {"etc/kernel/entry-token": "mine\n"})
    configure_installation(SystemKernel(layout="bls", cmdline="quiet"), root, 1000)
    assert (tmp_path / "etc/kernel/entry-token").read_text(encoding="utf-8") == "mine\n"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"layout": "uki"}, "cmdline"),
        ({"layout": "bls"}, "cmdline"),
        ({"layout": "efistub"}, "cmdline"),
        ({"initrd_generator": "none"}, "layout"),
        ({"uki_generator": "ukify", "layout": "grub"}, "layout uki"),
        ({"cmdline": "two\nlines"}, "invalid value"),
    ],
)
def test_settings_of_kernel_installation_that_do_not_fit_are_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SystemKernel(**settings)


@as_root
@pytest.mark.parametrize("place", ["lib/modules/6.6.0/vmlinux", "boot/vmlinux-6.6.0"])
def test_machines_that_start_vmlinux_have_it_as_their_image(tmp_path: Path, place: str) -> None:
    """ppc64, sparc and hppa have no compressed image (dist-kernel-utils.eclass)."""
    root = make_root(tmp_path, {place: "elf"})
    assert find_image(root, V, "root") == f"/{place}"


@as_root
@pytest.mark.parametrize(
    ("counter", "built", "since", "again"),
    [
        (6, MADE - 9, 0, False),  # merged after the kernel, and a version says enough
        (6, MADE - 9, MADE + 0.5, True),  # a binary package from before the kernel was configured here
        (6, MADE, MADE + 0.5, False),  # times of packages have whole seconds
        (4, MADE, 0, True),  # merged before the kernel was
    ],
)
def test_packages_whose_modules_do_not_fit_are_rebuilt(
    tmp_path: Path, counter: int, built: float, since: float, again: bool
) -> None:
    asked = Asked()
    root = root_with(tmp_path, counter=counter, built=built)
    rebuild_modules(KernelSettings(), V, root, cast("Portage", asked), since=since)
    assert asked.atoms == (["=sys-fs/zfs-1"] if again else [])


@as_root
def test_a_project_can_disable_rebuilding(tmp_path: Path) -> None:
    asked = Asked()
    root = root_with(tmp_path, counter=6, built=MADE - 9)
    rebuild_modules(KernelSettings(rebuild_modules=False), V, root, cast("Portage", asked), since=MADE)
    assert not asked.atoms


@as_root
def test_a_root_without_portage_needs_modules_of_its_kernel(tmp_path: Path) -> None:
    """The kernel of an embedded root: nothing can be built again there."""
    root = root_with(tmp_path / "fits", counter=6, built=MADE)
    files.write_file(root.path, f"/lib/modules/{V}/modules.builtin", "", epoch=0)
    assert check_kernel(KernelSettings(package="sys-kernel/dist"), root) == V
    with pytest.raises(StagewrightError) as caught:
        check_kernel(KernelSettings(version="9.9"), root)
    assert caught.value.reason is Reason.ENVIRONMENT_LACKS
    root = root_with(tmp_path / "other", counter=6, built=MADE, fits="1.0")
    files.write_file(root.path, f"/lib/modules/{V}/modules.builtin", "", epoch=0)
    with pytest.raises(StagewrightError) as caught:
        check_kernel(KernelSettings(package="sys-kernel/dist"), root)
    assert caught.value.reason is Reason.BUILD_FAILED


@pytest.mark.parametrize("settings", [{}, {"layout": "uki", "cmdline": "quiet"}])
def test_settings_of_a_kernel_are_valid_again_as_a_worker_reads_them(settings: dict[str, str]) -> None:
    kernel = SystemKernel(package="sys-kernel/gentoo-kernel-bin", **settings)
    assert SystemKernel(**kernel.model_dump(mode="json")) == kernel
