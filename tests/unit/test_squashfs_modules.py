"""Modules of a payload that are mounted for mksquashfs(1), in place of copies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from roots import EPOCH, as_root

from stagewright.media.payload import MODULES

_PACK = """
import os, subprocess, sys
from pathlib import Path
from stagewright.kinds.media.squashfs import add_modules, show_modules
from stagewright.root.files import clamp_times
from stagewright.root.root import Root
folder, epoch, way = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
tree = folder / way
root = Root(tree, tree)
lines = show_modules(root, folder / "payload", epoch) if way == "shown" else []
if way == "copied":
    add_modules(root, folder / "payload", epoch)
for path in (tree, tree / "usr", tree / "usr/lib", tree / "usr/lib/modules", tree / "lib"):
    os.utime(path, (epoch, epoch), follow_symlinks=False)
(folder / way).with_suffix(".pseudo").write_text("".join(f"{line}\\n" for line in lines))
words = ["mksquashfs", tree, f"{tree}.squashfs", "-quiet", "-no-progress", "-pf", f"{tree}.pseudo"]
subprocess.run(words, check=True, stdout=2, env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)})
print(len(os.listdir(tree / "usr/lib/modules/6.1/kernel")), len(lines))
"""


def pack(folder: Path, way: str) -> tuple[str, bytes]:
    """Return what the program prints, and the image."""
    (folder / way / "usr/lib").mkdir(parents=True)
    (folder / way / "lib").symlink_to("usr/lib")
    (folder / way).chmod(0o755)
    words = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", _PACK, folder, str(EPOCH), way]
    said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    return said, (folder / f"{way}.squashfs").read_bytes()


@as_root
def test_an_image_with_mounted_modules_has_the_bits_of_one_with_copies(tmp_path: Path) -> None:
    modules = tmp_path / "payload" / MODULES / "6.1" / "kernel"
    modules.mkdir(parents=True)
    names = ("a.ko", "with space.ko", "quo'te\".ko", "back\\slash", "ä.ko")
    for number, name in enumerate(names):
        (modules / name).write_bytes(name.encode() * 5000)
        (modules / name).chmod(0o444)
        os.chown(modules / name, number, number)
    (modules.parent / "build").symlink_to("kernel")
    for path in (modules.parent / "build", *modules.iterdir(), modules, modules.parent):
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    copied, shown = pack(tmp_path, "copied"), pack(tmp_path, "shown")
    assert copied == (f"{len(names)} 0\n", copied[1])
    assert shown == (f"{len(names)} {len(names) + 3}\n", copied[1])
    assert not list((tmp_path / "shown/usr/lib/modules/6.1").iterdir()), "nothing was copied"
