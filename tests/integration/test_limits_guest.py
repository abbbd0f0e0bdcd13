"""Limits by control groups of version 2, in a virtual machine: its kernel has nothing else, whatever this one has."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from integration.support import Warm
from stagewright.interpreter import package_path

pytestmark = pytest.mark.real

MODULES = """
import json, runpy, sys
sys.path.insert(0, sys.argv[1])
import encodings.ascii, encodings.latin_1, encodings.utf_8, stagewright.root.limit_groups
files = [module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)]
print(json.dumps(files))
"""
"""Prints the files of all modules that the guest needs."""

INIT = """#!/bin/busybox sh
mount() { busybox mount "$@"; }
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec > /dev/console 2>&1
echo "+memory +pids" > /sys/fs/cgroup/cgroup.subtree_control
busybox mkdir /sys/fs/cgroup/session
echo $$ > /sys/fs/cgroup/session/cgroup.procs
%s -I -S /guest.py
busybox poweroff -f
"""

GUEST = """
import json, os, sys, time
sys.path.insert(0, %r)
from stagewright.root.limit_groups import LimitGroup, find_place
from stagewright.run import run, spawn
found = {"version": find_place().version}
group = LimitGroup.make("guest", 64 << 20, 20, swap=False)
run(group.command(["sh", "-c", "tail /dev/zero"]), check=False)
found["memory"] = sorted(group.hits())
run(group.command(["sh", "-c", "for i in $(seq 30); do sleep 1000 >/dev/null 2>&1 & done"]), check=False)
found["both"] = sorted(group.hits())
group.remove()
engine = os.fork()
if engine == 0:
    group = LimitGroup.make("killed", 64 << 20, 20, swap=False)
    spawn(group.command(["sleep", "1000"]))
    os.kill(os.getpid(), 9)
os.waitpid(engine, 0)
for _ in range(600):
    found["left"] = [folder.name for folder in find_place().folders["memory"].iterdir() if folder.is_dir()]
    if found["left"] == ["session"]:
        break
    time.sleep(0.1)
print("FOUND", json.dumps(found), flush=True)
"""


def libraries(program: Path) -> list[str]:
    """The shared libraries of a program or module, and its loader."""
    text = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(/\S+) \(0x", text)


def initramfs(folder: Path) -> Path:
    """An initramfs with Busybox, Python and the module of limits."""
    python = Path(sys.executable).resolve()
    names = subprocess.run([python, "-I", "-S", "-c", MODULES, package_path()], stdout=subprocess.PIPE, check=True)
    files = {Path(name) for name in json.loads(names.stdout)} | {python}
    files |= {Path(name) for file in list(files) for name in libraries(file) if file.suffix != ".py"}
    root = folder / "root"
    for file in files:
        place = root / str(file).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    for name in ("bin", "dev", "proc", "sys"):
        (root / name).mkdir(exist_ok=True)
    shutil.copy(shutil.which("busybox") or "", root / "bin/busybox")
    for name in ("sh", "tail", "seq", "sleep", "find", "rmdir", "kill"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "init").write_text(INIT % python, encoding="utf-8")
    (root / "init").chmod(0o755)
    (root / "guest.py").write_text(GUEST % package_path(), encoding="utf-8")
    image = folder / "initramfs"
    with image.open("wb") as stream:
        listing = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
        words = ["busybox", "cpio", "-o", "-H", "newc"]
        subprocess.run(words, cwd=root, input=listing.encode(), stdout=stream, stderr=subprocess.DEVNULL, check=True)
    return image


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="NOT TESTED: the guest is one for x86_64")
def test_version_2_limits_memory_and_processes_and_is_removed(warm: Warm, tmp_path: Path) -> None:
    if not shutil.which("busybox") or not shutil.which("qemu-system-x86_64"):
        pytest.skip("NOT TESTED: busybox or qemu-system-x86_64 not installed")
    kernel = warm.store / "artifacts" / warm.keys["boot"] / "tree/boot/gentoo"
    arguments = "console=ttyS0 quiet panic=-1 cgroup_no_v1=all"
    words = ["qemu-system-x86_64", "-m", "512", "-nographic", "-no-reboot", "-nic", "none", "-kernel", kernel]
    words += ["-initrd", initramfs(tmp_path), "-append", arguments]
    try:
        output = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=600, check=False
        ).stdout
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
    text = output.decode(errors="replace")
    found = re.search(r"FOUND (\{.*\})", text)
    assert found, text
    assert json.loads(found[1]) == {
        "version": 2,
        "memory": ["memory"],
        "both": ["memory", "pids"],
        "left": ["session"],
    }
