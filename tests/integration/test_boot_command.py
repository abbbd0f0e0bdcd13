"""``stagewright boot`` with real guests: a login by SSH, and what a killed command leaves."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from integration.sites import Box
from integration.support import call, command
from stagewright.temporary import LOCK, PREFIX
from stagewright.vm.folder import kept_folder

pytestmark = pytest.mark.real

LIMIT = 60.0


@pytest.mark.boot
def test_a_stage4_takes_ssh(box: Box) -> None:
    """The key is added to that of the image, words stay words, and the exit code is that of the command."""
    script = 'cat /etc/hostname /root/.ssh/authorized_keys && test "$1" = "two  words" && exit 7'
    words = ["--ssh", "--", "sh", "-c", script, "sh", "two  words"]
    done = call("boot", "box-disk", *words, cwd=box.project, store=box.store, check=False)
    assert done.code == 7, done
    host, *keys = done.stdout.splitlines()
    assert host == "box"
    assert (box.project / "image.pub").read_text(encoding="utf-8").strip() in keys
    assert any(key.endswith(" stagewright") for key in keys)
    assert not list((box.project / "out").glob("*.machine"))


def processes_with(folder: Path) -> set[int]:
    """Return the processes whose command line names a folder."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.fsencode(folder) in path.read_bytes():
                found.add(int(path.parent.name))
    return found


def temporary_folder_of(pid: int) -> Path:
    """Return the temporary folder that a process has locked."""
    files = [Path(os.readlink(path)) for path in Path(f"/proc/{pid}/fd").iterdir()]
    return next(file.parent for file in files if file.name == LOCK and file.parent.name.startswith(PREFIX))


@pytest.mark.boot
def test_a_killed_command_leaves_no_process(tmp_path: Path) -> None:
    """Its temporary folder stays until the next start (tests/unit/vm/test_folder.py)."""
    disk, kept = tmp_path / "disk.img", tmp_path / "kept"
    disk.write_bytes(bytes(510) + b"\x55\xaa" + bytes(1 << 20))
    options = ["--ssh", "--tpm", "--firmware", "bios", "--keep", str(kept)]
    words = command("boot", str(disk), *options, cwd=tmp_path, store=tmp_path / "store")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert "waiting for the SSH server" in process.stderr.readline()
        names = {Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() for pid in processes_with(kept)}
        left = temporary_folder_of(process.pid)
        process.kill()
    assert names >= {"qemu-system-x86", "swtpm"}
    shutil.rmtree(left)
    end = time.monotonic() + LIMIT
    while processes_with(kept) and time.monotonic() < end:
        time.sleep(0.05)
    assert not processes_with(kept)
    with kept_folder(kept):
        pass
