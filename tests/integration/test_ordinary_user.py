"""An ordinary user with subordinate ids builds the same bytes as root, enters roots, and removes what was built."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from terminals import on_terminal

import stagewright
from integration.archives import busybox_root, folder, member
from integration.processes import file_digests
from integration.support import build, write_project
from stagewright.vm.firmware_known import installed
from stagewright.vm.machine import is_png

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not shutil.which("newuidmap"), reason="NOT TESTED: uidmap not installed (packages/install installs it)"
    ),
    pytest.mark.skipif(not Path("/bin/busybox").exists(), reason="NOT TESTED: busybox-static not installed"),
]

USER = 54321

RANGE = 3_000_000_000
"""First subordinate id of the user. /etc/subuid names no other user."""

PROJECT = """
[seeds.base]
file = "base.tar"
[stages.more]
kind = "stage4"
root = "base"
script = "script"
[stages.packed]
kind = "tarball"
root = "more"
[stages.broken]
kind = "stage4"
root = "base"
script = "fails"
"""

SCRIPT = """#!/bin/sh
set -e
echo data > /etc/data
busybox chown 7:8 /etc/data
busybox rm -r /old
mkdir /old /closed
touch /closed/file
chmod 0 /closed
"""

SEALS = "mkdir /sealed; busybox dd if=/dev/urandom of=/sealed/x bs=1M count=40; chmod 0 /sealed; false\n"
"""Fails, and leaves 40 MiB that the user cannot see."""

BECOME = """
set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
cp -a /etc "$1/etc"
echo "tester:x:$USER_ID:$USER_ID::$HOME:/bin/sh" >> "$1/etc/passwd"
echo "tester:x:$USER_ID:" >> "$1/etc/group"
for name in subuid subgid; do echo "tester:$RANGE:65536" > "$1/etc/$name"; done
mount --bind "$1/etc" /etc
mount -t tmpfs -o mode=755 tmpfs /dev/net    # udev gives all users the tunnel device
mknod -m 666 /dev/net/tun c 10 200
for folder in $FOLDERS; do mkdir -p "$1/$folder"; mount --bind "$folder" "$1/$folder"; done
for folder in $CLOSED; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
for folder in $FOLDERS; do mkdir -p "$folder"; mount --bind "$1/$folder" "$folder"; done
shift
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups "$@"
"""
"""Becomes a user that exists in this mount namespace only, and can read the code. Arguments: empty folder, command."""


def _closed_folders() -> tuple[list[str], list[str]]:
    """Return the folders of the code that ordinary users cannot reach, and the folders that are closed to them."""
    folders = {Path(sys.base_prefix), Path(sys.prefix), Path(stagewright.__file__).parents[1]}
    closed = {
        folder: next((top for top in reversed(folder.parents) if not top.stat().st_mode & 1), None)
        for folder in sorted(folders)
    }
    return [str(one) for one, top in closed.items() if top], sorted({str(top) for top in closed.values() if top})


@dataclass(frozen=True)
class Account:
    """A user with a home folder."""

    home: Path

    def command(self, *words: str) -> list[str]:
        """Return the command line of Stagewright as the user, in the project ``home/project``."""
        files = Path(tempfile.mkdtemp(dir=self.home))
        folders, closed = _closed_folders()
        outer = ["unshare", "--mount", "--propagation", "private", "sh", "-c", BECOME, "sh", str(files)]
        inner = [sys.executable, "-P", "-m", "stagewright", "-C", str(self.home / "project"), *words]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "USER_ID": str(USER), "PYTHONDONTWRITEBYTECODE": "1"}
        env |= {"RANGE": str(RANGE), "FOLDERS": " ".join(folders), "CLOSED": " ".join(closed)}
        return ["env", "-i", "-C", "/", *(f"{name}={value}" for name, value in env.items()), *outer, *inner]

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of Stagewright as the user."""
        return subprocess.run(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    """A user with a project that is built."""
    plain = ["setpriv", "--reuid", str(USER), "--clear-groups", "unshare", "--user", "true"]
    if subprocess.run(plain, cwd="/", check=False, capture_output=True).returncode:
        pytest.skip("NOT TESTED: ordinary users may not make user namespaces (stagewright doctor)")
    home = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="stagewright-user-"))
    try:
        project = write_project(home / "project", PROJECT)
        capability = bytes.fromhex("0100000200200000000000000000000000000000").decode()
        more = [
            member("bin/ping", b"x", mode=0o755, pax_headers={"SCHILY.xattr.security.capability": capability}),
            member("usr/owned", b"x", uid=250, gid=250, mode=0o4755),
            folder("old"),
            member("old/file", b"x"),
            folder("dev"),
            member("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        ]
        busybox_root(project / "base.tar", Path("/bin/busybox"), more)
        (project / "script").write_text(SCRIPT, encoding="utf-8")
        (project / "fails").write_text(SEALS, encoding="utf-8")
        for path in (home, *home.rglob("*")):
            os.chown(path, USER, USER)
        home.chmod(0o700)
        done = Account(home).call("build", "packed")
        assert done.returncode == 0, done.stderr
        yield Account(home)
    finally:
        shutil.rmtree(home)


def test_an_ordinary_user_builds_the_same_bytes(account: Account, tmp_path: Path) -> None:
    ours = account.home / "project/out"
    assert {path.stat().st_uid for path in ours.iterdir()} == {USER}
    shutil.copytree(account.home / "project", tmp_path / "project", ignore=shutil.ignore_patterns("out"))
    build("packed", cwd=tmp_path / "project", store=tmp_path / "store")
    assert file_digests(ours) == file_digests(tmp_path / "project/out")
    plain = tmp_path / "plain.tar"
    subprocess.run(["zstd", "-dqf", next(ours.glob("*.tar.zst")), "-o", plain], check=True)
    with tarfile.open(plain) as archive:
        entries = {entry.name: entry for entry in archive}
    assert (entries["./etc/data"].uid, entries["./etc/data"].gid) == (7, 8)
    assert entries["./usr/owned"].mode == 0o4755
    assert entries["./dev/null"].ischr()
    assert "SCHILY.xattr.security.capability" in entries["./bin/ping"].pax_headers


def _results(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.stdout)["results"]
    return found


def test_an_ordinary_user_finds_an_altered_byte_of_a_layer(account: Account) -> None:
    """Some folders of a layer are closed to the user, and its owners are those of builds."""
    layers = account.home / ".cache/stagewright/layers"
    (file,) = layers.glob("*/tree/closed/file")
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_text("x", encoding="utf-8")
    done = account.call("verify", "more", "packed", "--keep", "--json")
    found = {one["node"]: (one["state"], {each["path"] for each in one["differences"]}) for one in _results(done)}
    assert found["more"] == ("damaged", {"tree/closed/file"})
    assert found["packed"][0] == "suspect"
    file.write_bytes(b"")
    os.utime(file, ns=times)
    done = account.call("verify", "more", "packed", "--json")
    assert done.returncode == 0, done.stderr
    assert {one["state"] for one in _results(done)} == {"whole"}


def test_an_ordinary_user_enters_a_root(account: Account) -> None:
    done = account.call("shell", "more", "--", "sh", "-c", "echo > /new && busybox id -u")
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_an_ordinary_user_removes_failed_roots_and_results(account: Account) -> None:
    assert account.call("build", "broken").returncode == 1
    store = account.home / ".cache/stagewright"
    assert list((store / "failed").glob("*/*"))
    cleaned = account.call("clean")
    assert cleaned.returncode == 0
    freed = re.search(r"^freed (\d+) MiB", cleaned.stdout, re.MULTILINE)
    assert freed and int(freed[1]) >= 40, "the disk limit and clean count closed folders, too"
    assert not list((store / "failed").glob("*/*"))
    (account.home / "project/stagewright.toml").write_text(
        'format = 1\n[project]\nname = "test"\nversion = "1"\nsource_date_epoch = 2026-11-20\n', encoding="utf-8"
    )
    done = account.call("gc")
    assert done.returncode == 0, done.stderr
    assert not list((store / "layers").iterdir()), done.stdout + done.stderr


@pytest.mark.boot
def test_an_ordinary_user_corrects_a_descriptor_and_starts_a_machine_with_it(account: Account) -> None:
    """The descriptor names no machines. The terminal asks before anything is written."""
    folder, files = account.home / ".config/qemu/firmware", account.home / "ovmf"
    descriptor = folder / "10-own-x86_64.json"
    pair = next(one for one in installed() if one.architecture == "x86_64" and not one.features and one.works())
    for path in (folder, files):
        path.mkdir(parents=True)
    mapping = {"device": "flash"}
    for part, source in (("executable", pair.code), ("nvram-template", pair.variables)):
        shutil.copy(source, files / part)
        mapping[part] = {"filename": str(files / part), "format": "raw"}
    broken = json.dumps({"interface-types": ["uefi"], "mapping": mapping, "features": []})
    descriptor.write_text(broken, encoding="utf-8")
    (account.home / "disk.img").write_bytes(bytes(510) + b"\x55\xaa" + bytes(1 << 20))
    subprocess.run(["chown", "-R", f"{USER}:{USER}", account.home / ".config", files], check=True)
    for answer, said in ((b"n\n", b"nothing was written"), (b"y\n", b"wrote " + os.fsencode(descriptor))):
        assert descriptor.read_text(encoding="utf-8") == broken
        with on_terminal(account.command("firmware", "--fix")) as user:
            user.wait_for(b"[y/N]")
            user.type(answer)
            user.wait_for(said)
            user.end()
    assert descriptor.stat().st_uid == USER
    disk = str(account.home / "disk.img")
    assert f"file={files}/executable" in account.call("boot", disk, "--qemu").stdout
    options = ["--screenshot", str(account.home / "screen.png"), "--until", "BdsDxe: ", "--seconds", "300"]
    done = account.call("boot", disk, "--memory", "256", *options)
    assert done.returncode == 0, done.stderr
    assert is_png(account.home / "screen.png")
