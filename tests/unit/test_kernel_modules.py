"""Rebuilt packages with kernel modules, by the records of installed packages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from roots import as_root, make_root

from stagewright.kernel.modules import KernelSettings, rebuild_modules
from stagewright.portage.emerge import Portage
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
