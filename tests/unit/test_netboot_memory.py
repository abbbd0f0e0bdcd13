"""The least memory of each method: the numbers, and loaders that compare them with the machine."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from roots import cpio

from stagewright.cli.media_check import _look, _report
from stagewright.events import Event, FileServed
from stagewright.media.arguments import InitramfsKind
from stagewright.netboot.memory import UNIT, Sizes, least_memory, needs_of
from stagewright.netboot.methods import MIB, CommandLine, Method
from stagewright.netboot.serve import FileServer
from stagewright.netboot.writer import NetSet, NetSetParts, memory_of, write_set

SMALL = Sizes(image=23 * MIB, initramfs=21 * MIB, unpacked=68 * MIB)
LARGE = Sizes(image=208 * MIB, initramfs=50 * MIB, unpacked=200 * MIB)


@pytest.mark.parametrize(
    ("method", "sizes", "failed", "worked"),
    [
        (Method.STREAM, SMALL, 160, 256),
        (Method.HTTP, SMALL, 176, 256),
        (Method.INITRD, LARGE, 512, 768),
        (Method.HTTP, Sizes(208 * MIB, 33 * MIB, 120 * MIB), 384, 512),
        (Method.INITRD, Sizes(390 * MIB, MIB // 3, MIB), 832, 1024),
    ],
)
def test_machines_that_started_have_enough_and_those_that_did_not_have_too_little(
    method: Method, sizes: Sizes, failed: int, worked: int
) -> None:
    assert failed < least_memory(method, sizes) <= worked


@pytest.mark.parametrize("method", [Method.STREAM, Method.NFS, Method.NBD])
def test_an_image_on_the_server_takes_no_memory(method: Method) -> None:
    assert least_memory(method, SMALL) == least_memory(method, Sizes(5 << 30, SMALL.initramfs, SMALL.unpacked))


def test_methods_that_need_less_are_known() -> None:
    initrd, nfs, http = needs_of([Method.INITRD, Method.NFS, Method.HTTP], LARGE)
    assert [other.method for other in initrd.others] == [Method.NFS, Method.HTTP]
    assert initrd.next and initrd.next.method is Method.HTTP, "scripts do not know the address of an NFS server"
    assert http.next is None and not nfs.others
    assert all(need.least % UNIT == 0 and (need.units + 1) * UNIT == need.least for need in (initrd, nfs, http))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set whose methods need 384, 256 and 192 MiB, of files with zeros."""
    work = tmp_path_factory.mktemp("memory")
    for name, size in {"kernel": 0, "initramfs": 20, "image": 90}.items():
        with (work / name).open("wb") as stream:
            stream.truncate(size * MIB or 1)
    parts = NetSetParts(*(work / name for name in ("kernel", "initramfs", "image")), unpacked=50 * MIB)
    methods = [Method.INITRD, Method.HTTP, Method.STREAM]
    wanted = NetSet("demo", CommandLine(InitramfsKind.DRACUT, []), methods, base_url="http://server/x", combined=False)
    (work / "set").mkdir()
    report = write_set(parts, wanted, work / "set", 1)
    assert list(report.memory.values()) == [384, 256, 192]
    return work / "set"


@pytest.mark.slow  # the digests of 110 MiB
def test_every_menu_and_the_page_name_the_least_memory(folder: Path) -> None:
    script = (folder / "boot.ipxe").read_text(encoding="utf-8")
    assert re.findall(r"^set least-(\w+) (\d+)$", script, re.MULTILINE)[0] == ("initrd", "384")
    assert "live-http 256 MiB, live-stream 192 MiB" in (folder / "pxelinux.cfg/default").read_text(encoding="utf-8")
    assert '\tif enough 3 256 "live-stream (192 MiB) "; then\n' in (folder / "grub.cfg").read_text(encoding="utf-8")
    assert "| 384 MiB |" in (folder / "README.md").read_text(encoding="utf-8")


def test_the_server_shows_the_least_memory(folder: Path) -> None:
    assert memory_of(folder) == {"initrd": 384, "http": 256, "stream": 192}
    with FileServer(folder, note="least memory: <1 MiB") as server:
        pages = {}
        for path in ("", "pxelinux.cfg/"):
            with urllib.request.urlopen(f"{server.url('127.0.0.1')}/{path}", timeout=20) as answer:
                pages[path] = answer.read().decode()
    assert "<p>least memory: &lt;1 MiB</p>" in pages[""]
    assert "least memory" not in pages["pxelinux.cfg/"]


@pytest.mark.parametrize(
    ("initramfs", "line"),
    [
        (gzip.compress(cpio({"init": bytes(50 * MIB)}), 1), "least memory: 192 MiB; 256 MiB if the image is copied"),
        (b"neither cpio nor packed", ""),
    ],
)
def test_media_check_names_the_least_memory(tmp_path: Path, initramfs: bytes, line: str) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/gentoo").write_bytes(b"kernel")
    (tmp_path / "boot/gentoo.igz").write_bytes(initramfs)
    with (tmp_path / "image.squashfs").open("wb") as stream:
        stream.truncate(90 * MIB)
    found = "\n".join(_report(_look(tmp_path)))
    assert line in found and ("least memory" in found) == bool(line)


@pytest.mark.skipif(shutil.which("grub-script-check") is None, reason="NOT TESTED: grub-script-check is not installed")
def test_grub_accepts_the_menu(folder: Path) -> None:
    subprocess.run(["grub-script-check", folder / "grub.cfg"], check=True)


def ipxe_says(folder: Path, memory: int, until: str) -> tuple[str, list[str]]:
    """Start a machine whose network card runs the script of a set, until the console shows a text.

    Return what it showed on one line, and the files that it loaded.
    """
    program = shutil.which("qemu-system-x86_64") or pytest.skip("NOT TESTED: no qemu-system-x86_64")
    loaded: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, FileServed):
            loaded.append(event.path)

    said = ""
    with FileServer(folder, listener=listen) as server:
        words = ["-accel", "tcg", "-machine", "q35,graphics=off", "-m", str(memory), "-nodefaults", "-display", "none"]
        words += ["-netdev", f"user,id=n,bootfile=http://10.0.2.2:{server.port}/boot.ipxe", "-serial", "stdio"]
        words += ["-device", "virtio-net-pci,netdev=n,bootindex=1"]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
        with subprocess.Popen([program, *words], **pipes) as machine:  # type: ignore[call-overload]
            try:
                end = time.monotonic() + 300
                while (
                    until not in said
                    and "Could not start demo" not in said
                    and (data := machine.stdout.read1())
                    and time.monotonic() < end
                ):
                    said += re.sub(r"\x1b\[[0-9;]*[A-Za-z]|[\r\n]", "", data.decode(errors="replace"))
            finally:
                machine.kill()
    return said, loaded


@pytest.mark.slow
def test_ipxe_compares_the_memory_of_the_machine(folder: Path) -> None:
    """The iPXE in the ROM of QEMU's network card; nothing but the script is loaded."""
    said, loaded = ipxe_says(folder, 128, "Could not start demo")
    assert "Not enough memory: this machine has 128 MiB and needs 384 MiB for the method initrd" in said
    assert "The method http needs 256 MiB" in said
    assert "this machine has 128 MiB and needs 192 MiB for the method stream" in said
    assert loaded == ["/boot.ipxe"]


@pytest.mark.slow
def test_ipxe_takes_a_method_that_needs_less(folder: Path) -> None:
    said, loaded = ipxe_says(folder, 256, "boot/gentoo.igz...")
    assert "The method http needs 256 MiB" in said and "needs 256 MiB for the method http" not in said
    assert loaded[:2] == ["/boot.ipxe", "/boot/gentoo"]
