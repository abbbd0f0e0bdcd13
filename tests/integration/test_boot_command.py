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


FILES_TEST = """
[tests.files]
boots = "box-disk"
network = true
script = "files.py"
"""

FILES_SCRIPT = '''
"""Copy files and folders by SSH, in both directions."""

import os
from pathlib import Path

from stagewright.testing import Machine

SIZE = 3 << 20  # an emulated console would take minutes


def test(machine: Machine) -> None:
    assert machine.ssh("cat /etc/hostname").strip() == "box"
    here = machine.folder / "given"
    (here / "a folder").mkdir(parents=True)
    (here / "a folder/data").write_bytes(os.urandom(SIZE))
    (here / "program").write_text("#!/bin/sh\\necho run\\n")
    (here / "program").chmod(0o755)
    machine.copy_to(here / "a folder/data", "/root/one file")
    machine.copy_to(here, "/root/all/")
    assert machine.ssh("cmp '/root/one file' '/root/all/a folder/data' && /root/all/program").strip() == "run"
    assert machine.copy_from("/root/one file").read_bytes() == (here / "a folder/data").read_bytes()
    back = machine.copy_from("/root/all/", "back")
    assert (back / "a folder/data").read_bytes() == (here / "a folder/data").read_bytes()
    assert (back / "program").stat().st_mode & 0o100
    machine.ssh("systemctl poweroff")
'''


@pytest.mark.boot
def test_files_and_folders_are_copied_by_ssh(box: Box) -> None:
    (box.project / "files.py").write_text(FILES_SCRIPT, encoding="utf-8")
    with (box.project / "stagewright.toml").open("a", encoding="utf-8") as stream:
        stream.write(FILES_TEST)
    call("test", "files", cwd=box.project, store=box.store)


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
