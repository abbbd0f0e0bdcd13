"""Updates by stagewright-update of an image file, with real signatures, and without root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from updater import MIB, PROGRAM, Disk, Machine, Updater, Version, sign

from integration.signing import Signer
from stagewright.testing.update_clients import OwnClient

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(shutil.which, ("sfdisk", "mcopy", "gpg", "gpgv", "curl", "xz"))),
        reason="NOT TESTED: needs sfdisk, mtools, gpg, gpgv, curl and xz",
    ),
]

OLD, NEW, OLDER = Version("1.0"), Version("1.1"), Version("0.9")


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer.make(tmp_path_factory.mktemp("keys") / "own")


@pytest.fixture(scope="module")
def keyring(signer: Signer) -> Path:
    path = signer.home.parent / "keyring.gpg"
    path.write_bytes(signer.gpg("--export"))
    return path


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Path:
    """A feed with the running version, the next one, and one that is not complete."""
    folder = tmp_path_factory.mktemp("feed") / "feed"
    for version in (OLD, NEW, Version("1.10")):
        version.write_feed(folder)
    (folder / "fleet_1.10.efi").unlink()
    sign(folder, signer)
    return folder


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    """A disk with the running version in its first slot, and an older one in the second."""
    return Disk.make(tmp_path_factory.mktemp("disk") / "disk.img", OLD, OLDER)


@pytest.fixture
def updater(tmp_path: Path, template: Disk, keyring: Path) -> Updater:
    shutil.copyfile(template.path, tmp_path / "disk.img")
    return Updater(tmp_path, Disk(tmp_path / "disk.img"), keyring)


@pytest.fixture
def own_feed(tmp_path: Path, feed: Path) -> Path:
    """A copy of the feed to change."""
    return shutil.copytree(feed, tmp_path / "feed")


@pytest.mark.parametrize("shell", ["dash", "busybox ash", "bash --posix"])
def test_the_next_version_gets_into_the_other_slot(updater: Updater, feed: Path, shell: str) -> None:
    updater.shell = shell
    done = updater.update(feed)
    assert done.returncode == 0, done.stderr
    assert updater.disk.has(NEW, "fleet_1.1+3-0.efi")
    assert updater.disk.has(OLD)
    assert updater.disk.entries() == ["fleet_1.0.efi", "fleet_1.1+3-0.efi"]
    again = updater.update(feed)
    assert again.returncode == 0 and "1.1 is installed already" in again.stdout
    assert not list(updater.folder.glob("stagewright-update.??????"))


@pytest.mark.parametrize("compression", ["", ".gz"])
def test_an_update_over_http_by_wget(updater: Updater, tmp_path: Path, signer: Signer, compression: str) -> None:
    site = tmp_path / "site"
    NEW.write_feed(site, compression)
    sign(site, signer)
    updater.fakes.hide("curl")
    with served(site) as url:
        updater.settings(url)
        done = updater("update")
    assert done.returncode == 0, done.stderr
    assert updater.disk.has(NEW, "fleet_1.1+3-0.efi")


class served:  # noqa: N801  used like a function
    """A web server for a folder; yields its address."""

    def __init__(self, site: Path) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(site)))

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_the_list_of_versions(updater: Updater, feed: Path) -> None:
    updater.settings(f"file://{feed}")
    done = updater("list")
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["1.1", "available"],
        ["1.0", "running"],
        ["0.9", "installed"],
    ]
    assert updater("update").returncode == 0
    listed = updater("--offline", "list").stdout
    names = ["sh", "-c", OwnClient().entries().partition("| ")[2]]  # as tests of machines read the list
    found = subprocess.run(names, input=listed, capture_output=True, text=True, check=True).stdout.splitlines()
    assert found == ["fleet_1.1+3-0.efi", "fleet_1.0.efi"]
    states = [json.loads(line) for line in updater("--json", "--offline", "list").stdout.splitlines()]
    assert [(one["version"], one["state"], one["entry"], one["left"]) for one in states] == [
        ("1.1", "new", "fleet_1.1+3-0.efi", "3"),
        ("1.0", "running", "fleet_1.0.efi", ""),
    ]


def refused(updater: Updater, site: Path, reason: str) -> None:
    """Update from a feed that must be refused, and check that nothing new can start."""
    done = updater.update(site, "--json")
    assert json.loads(done.stdout.splitlines()[-1])["reason"] == reason, done.stderr
    assert "hint: " in done.stderr
    assert done.returncode == (3 if reason == "UNVERIFIED" else 1)
    assert updater.disk.has(OLD)
    assert not [name for name in updater.disk.entries() if name.startswith("fleet_1.1")]


def test_a_changed_kernel_or_partition_is_refused(updater: Updater, own_feed: Path) -> None:
    for pattern in ("fleet_1.1.efi", "fleet_1.1_*.root.xz", "fleet_1.1_*.root-verity.xz"):
        (path,) = own_feed.glob(pattern)
        good = path.read_bytes()
        path.write_bytes(good[:-9] + bytes([good[-9] ^ 1]) + good[-8:])
        refused(updater, own_feed, "UNVERIFIED")
        path.write_bytes(good)
    done = updater.update(own_feed)
    assert done.returncode == 0 and updater.disk.has(NEW, "fleet_1.1+3-0.efi"), done.stderr


def test_a_changed_list_or_signature_or_another_key_is_refused(
    updater: Updater, own_feed: Path, tmp_path: Path
) -> None:
    signature = (own_feed / "SHA256SUMS.gpg").read_bytes()
    (own_feed / "SHA256SUMS.gpg").write_bytes(signature[:-4] + bytes([signature[-4] ^ 1]) + signature[-3:])
    refused(updater, own_feed, "UNVERIFIED")
    sign(own_feed, Signer.make(tmp_path / "foreign"))
    refused(updater, own_feed, "UNVERIFIED")
    (own_feed / "SHA256SUMS.gpg").write_bytes(signature)
    with (own_feed / "SHA256SUMS").open("a", encoding="utf-8") as file:
        file.write(f"{'0' * 64}  fleet_9.efi\n")
    refused(updater, own_feed, "UNVERIFIED")
    (own_feed / "SHA256SUMS.gpg").unlink()
    refused(updater, own_feed, "NETWORK")
    assert updater.disk.has(OLDER), "nothing was changed before the signature was verified"


def test_an_older_or_equal_version_is_not_installed(updater: Updater, tmp_path: Path, signer: Signer) -> None:
    for version in (OLD, OLDER, Version("1.0~rc1")):
        site = tmp_path / version.number
        version.write_feed(site)
        sign(site, signer)
        done = updater.update(site)
        assert done.returncode == 0 and "no newer version" in done.stdout, done.stderr
    assert updater.disk.has(OLD) and updater.disk.has(OLDER)


def test_versions_that_are_the_same_number_are_different_versions(
    updater: Updater, tmp_path: Path, signer: Signer
) -> None:
    site = tmp_path / "site"
    for number in ("1.1", "1.10"):
        Version(number).write_feed(site)
    sign(site, signer)
    updater.settings(f"file://{site}")
    assert [line.split()[0] for line in updater("list").stdout.splitlines()] == ["1.10", "1.1", "1.0", "0.9"]
    script = f". {PROGRAM.parent}/lib/update.sh; versions={site}/lines; find_target() {{ echo $data; exit; }}"
    lines = "".join(f"{number} {number}.efi k {number}.root d u {number}.verity t v\n" for number in ("1.10", "1.1"))
    (site / "lines").write_text(lines, encoding="utf-8")
    words = ["dash", "-c", f"set_name=fleet; {script}; install_version 1.1"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "1.1.root\n"


def test_a_version_that_failed_is_not_tried_again(updater: Updater, feed: Path) -> None:
    assert updater.update(feed).returncode == 0
    words = ["mren", "-i", updater.disk.esp, "::EFI/Linux/fleet_1.1+3-0.efi", "::EFI/Linux/fleet_1.1+0-3.efi"]
    subprocess.run(words, check=True)
    assert updater.update(feed).returncode == 0
    assert updater.disk.has(NEW, "fleet_1.1+0-3.efi")
    assert "1.1                failed       fleet_1.1+0-3.efi (0 tries left)" in updater("list").stdout


def test_a_full_esp_and_a_small_partition_are_reported(updater: Updater, tmp_path: Path, signer: Signer) -> None:
    large = tmp_path / "large"
    NEW.write_feed(large)
    (large / "fleet_1.1.efi").write_bytes(bytes(2 * MIB))
    sign(large, signer)
    refused(updater, large, "ESP_FULL")
    (large / "fleet_1.1.efi").write_bytes(NEW.content("efi"))
    (path,) = large.glob("*.root.xz")
    path.write_bytes(subprocess.run(["xz", "-0"], input=bytes(2 * MIB + 1), capture_output=True, check=True).stdout)
    sign(large, signer)
    refused(updater, large, "TOO_LARGE")
    parts = updater.disk.parts()
    assert updater.disk.read(parts[3].start, 4096) == OLDER.content("root-verity")[:4096], "the next partition is whole"


def test_other_faults_are_reported(updater: Updater, tmp_path: Path, feed: Path, keyring: Path) -> None:
    refused(updater, tmp_path / "missing", "NETWORK")
    single = Updater(tmp_path, Disk.make(tmp_path / "single.img", OLD, slots=1), keyring)
    refused(single, feed, "NO_SLOT")
    updater.running = "7"
    done = updater.update(feed)
    assert done.returncode == 1 and "no partition is called fleet_7" in done.stderr
    updater.running = "1.0"
    updater.settings("nonsense")
    assert updater("update").returncode == 2


def test_two_updates_do_not_run_at_once(updater: Updater, feed: Path) -> None:
    go = updater.folder / "go"
    updater.fakes.put("gpgv", f'"$real" "$@"; touch {updater.folder}/first; while [ ! -e {go} ]; do sleep 0.1; done')
    first = threading.Thread(target=updater.update, args=(feed,))
    first.start()
    while not (updater.folder / "first").exists():
        assert first.is_alive()
    try:
        refused(updater, feed, "BUSY")
    finally:
        go.touch()
        first.join()
    assert updater.disk.has(NEW, "fleet_1.1+3-0.efi")


WRITERS = ("sfdisk", "mdel", "mcopy", "dd", "mren")


def power_fails_at(updater: Updater, call: int, *, half: bool) -> None:
    """Kill the program and all of its children before its Nth call that writes; with ``half``, in the middle of it."""
    (updater.folder / "calls").write_text("", encoding="utf-8")
    for name in WRITERS:
        part = 'head -c 30000 | "$real" "$@"; ' if half and name in ("mcopy", "dd") else ""
        updater.fakes.put(
            name,
            'case "$*" in *--dump*) exec "$real" "$@" ;; esac\n'
            f"echo {name} >> {updater.folder}/calls\n"
            f'[ "$(wc -l < {updater.folder}/calls)" -ne {call} ] || {{ {part}kill -KILL 0; }}\n'
            'exec "$real" "$@"',
        )


# Before each call: mdel, two labels, kernel, data, hashes, two UUIDs, two labels, and the rename of the kernel.
@pytest.mark.parametrize(
    ("call", "half"), [*[(call, False) for call in range(1, 12)], *[(call, True) for call in (4, 5, 6)]]
)
def test_a_kill_leaves_a_disk_that_starts_and_the_next_run_goes_on(
    updater: Updater, feed: Path, call: int, half: bool
) -> None:
    power_fails_at(updater, call, half=half)
    done = updater.update(feed)
    assert done.returncode == -9, done.stderr
    calls = (updater.folder / "calls").read_text(encoding="utf-8").split()
    assert calls == ["mdel", "sfdisk", "sfdisk", "mcopy", "dd", "dd", *["sfdisk"] * 4, "mren"][:call]
    assert updater.disk.has(OLD)
    entries = [name for name in updater.disk.entries() if name.endswith(".efi")]
    assert entries == (["fleet_0.9.efi", "fleet_1.0.efi"] if call == 1 else ["fleet_1.0.efi"])
    assert call > 1 or updater.disk.has(OLDER)
    for name in WRITERS:
        (updater.fakes.folder / name).unlink()
    again = updater.update(feed)
    assert again.returncode == 0, again.stderr
    assert updater.disk.has(OLD) and updater.disk.has(NEW, "fleet_1.1+3-0.efi")
    assert updater.disk.entries() == ["fleet_1.0.efi", "fleet_1.1+3-0.efi"]


def counted(updater: Updater, entry: str) -> None:
    """Let the firmware say that the boot of an entry is counted."""
    name = "LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
    (updater.folder / "efivars").mkdir()
    text = f"\\EFI\\Linux\\{entry}\0".encode("utf-16-le")
    (updater.folder / "efivars" / name).write_bytes(b"\6\0\0\0" + text)


def test_a_version_is_marked_as_good_once_and_only_if_all_checks_succeed(updater: Updater, feed: Path) -> None:
    updater.settings(f"file://{feed}")
    assert "not counted" in updater("bless").stdout
    updater.disk.put("fleet_1.1+2-1.efi", b"kernel")
    counted(updater, "fleet_1.1+2-1.efi")
    check = updater.folder / "checks.d/network"
    check.parent.mkdir()
    check.write_text("#!/bin/sh\nexit 7\n", encoding="utf-8")
    check.chmod(0o755)
    done = updater("bless")
    assert done.returncode == 1 and "network: exit code 7" in done.stderr
    assert "fleet_1.1+2-1.efi" in updater.disk.entries()
    check.unlink()
    for _ in range(2):
        assert updater("bless").returncode == 0
        assert updater.disk.entry("fleet_1.1.efi") == b"kernel"


@pytest.fixture
def watched(updater: Updater) -> Iterator[Updater]:
    updater.settings("file:///none", deadline="60")
    (updater.folder / "uptime").write_text("61.4 50.0\n", encoding="utf-8")
    yield updater
    assert updater.shell == "dash", "busybox would run its own reboot"


def test_a_version_that_is_not_good_in_time_restarts(watched: Updater) -> None:
    assert watched("watch", image=False).returncode == 0
    assert not (watched.folder / "reboots").exists(), "the boot was not counted"
    counted(watched, "fleet_1.1+2-1.efi")
    assert watched("watch", image=False).returncode == 0
    assert (watched.folder / "reboots").read_text(encoding="utf-8") == "reboot -f -n\n"


def test_a_good_version_does_not_restart(watched: Updater) -> None:
    counted(watched, "fleet_1.1+2-1.efi")
    watched.disk.put("fleet_1.1+2-1.efi", b"kernel")
    assert watched("bless").returncode == 0
    assert watched("watch", image=False).returncode == 0
    assert not (watched.folder / "reboots").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root updates a machine")
@pytest.mark.skipif(
    "vfat" in Path("/proc/filesystems").read_text(encoding="utf-8"), reason="NOT TESTED: vfat is mounted"
)
def test_the_disk_and_the_slot_of_a_running_machine_are_found(updater: Updater, feed: Path, tmp_path: Path) -> None:
    devices = Machine(tmp_path / "machine", updater).make().devices
    updater.settings(f"file://{feed}")
    before = {path.name: path.read_bytes() for path in devices.iterdir()}
    holder = tmp_path / "machine/sys/class/block/vda5/holders/dm-1"
    holder.touch()
    done = updater("--running", "1.0", "update", image=False)
    assert done.returncode == 1 and "vda5: is in use by dm-1" in done.stderr
    assert {path.name: path.read_bytes() for path in devices.iterdir()} == before
    holder.unlink()
    done = updater("--running", "1.0", "--reboot", "update", image=False)
    assert done.returncode == 0, done.stderr
    for number, role in ((4, "root"), (5, "root-verity")):
        assert (devices / f"vda{number}").read_bytes()[: len(NEW.content(role))] == NEW.content(role)
    changed = {path.name for path in devices.iterdir() if path.read_bytes() != before[path.name]}
    assert changed == {"vda", "vda1", "vda4", "vda5"}
    assert [part.label for part in Disk(devices / "vda").parts()] == ["fleet_1.0"] * 2 + ["fleet_1.1"] * 2
    assert (
        "1.1                new          fleet_1.1+3-0.efi" in updater("--running", "1.0", "list", image=False).stdout
    )
    assert (tmp_path / "reboots").read_text(encoding="utf-8") == "reboot \n"


def test_an_update_never_writes_to_the_disk_of_this_machine() -> None:
    done = subprocess.run([PROGRAM, "--disk", "/dev/null", "update"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
