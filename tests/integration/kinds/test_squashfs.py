"""squashfs: the live root and the modules of a payload in one image, without the build's own files."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.processes import sha512
from integration.support import Warm, build, plan

pytestmark = pytest.mark.real


NODE = "live+boot.squashfs"


def test_a_squashfs_holds_the_live_root_and_the_modules_of_the_kernel(
    demo: Path, warm: Warm, fresh: Callable[..., Path], tmp_path: Path
) -> None:
    store = fresh("seed:debian", "seed:debian-boot", "system", "live", "boot")
    assert NODE in build("iso", cwd=demo, store=store).built()
    image = store / "artifacts" / plan("iso", cwd=demo, store=store)[NODE]["key"] / "tree/image.squashfs"
    assert sha512(image) == sha512(warm.tree(NODE) / "image.squashfs"), "the same bits again"
    told = subprocess.run(["unsquashfs", "-s", image], check=True, capture_output=True, text=True).stdout
    assert "Compression zstd" in told
    root = tmp_path / "root"
    subprocess.run(["unsquashfs", "-q", "-n", "-d", root, image], check=True, capture_output=True)
    (version,) = (path.name for path in (root / "lib/modules").resolve().iterdir())
    assert (warm.tree("boot") / "modules" / version).is_dir()
    assert (root / "usr/bin/hello").exists() and (root / "etc/motd").exists()
    assert not (root / "var/db/pkg").exists() and not (root / "usr/include").exists()
    shutil.rmtree(root)
