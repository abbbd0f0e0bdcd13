"""Roots of very many layers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: mounts need root")

PROGRAM = """
import os, sys
from pathlib import Path
from stagewright.root.overlay import mount_layers, mount_overlay
base, count = Path(sys.argv[1]), int(sys.argv[2])
layers = [base / "layers" / str(number).rjust(64, "0") / "tree" for number in range(count)]
for number, layer in enumerate(layers):
    layer.mkdir(parents=True)
    (layer / f"file{number}").touch()
mount_overlay(layers, base / "work" / "upper", base / "work" / "root")
(base / "work" / "root" / "new").touch()
print(len(os.listdir(mount_layers(layers, base / "seen"))), len(os.listdir(base / "work" / "root")))
"""


def mounted(folder: Path, count: int) -> subprocess.CompletedProcess[str]:
    words = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", PROGRAM, folder, str(count)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def has_single_options() -> bool:
    """True if overlayfs takes layers one by one."""
    return tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) >= (6, 5)


@pytest.mark.skipif(not has_single_options(), reason="NOT TESTED: so many layers need Linux 6.5")
def test_a_root_of_many_layers(tmp_path: Path) -> None:
    done = mounted(tmp_path, 500)
    assert done.stdout.split() == ["500", "501"], done.stderr


def test_more_layers_than_the_kernel_takes_are_an_error_with_a_way_out(tmp_path: Path) -> None:
    done = mounted(tmp_path, 501)
    assert "501 layers: more than this kernel stacks" in done.stderr
    assert "tarball" in done.stderr
