"""Programs that others wrote read media and disk images of the suite, and say what they are."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.sites import Disk, Media

pytestmark = pytest.mark.real

ISOS = ("hybrid", "iso", "uki")


def said(*words: str | Path, code: int = 0) -> str:
    """Return the output of a program; the test is skipped if it is not installed."""
    if shutil.which(str(words[0])) is None:
        pytest.skip(f"NOT TESTED: no {words[0]} (packages/apt-more.txt)")
    done = subprocess.run(words, capture_output=True, check=False)
    text = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == code, text
    return text


def isos(media: Media) -> Iterator[Path]:
    return (next(media.tree(name).glob("*.iso")) for name in ISOS)


def on_iso(iso: Path, path: str) -> bytes:
    said("isoinfo", "-i", iso, "-d")
    return subprocess.run(["isoinfo", "-i", iso, "-R", "-x", path], check=True, capture_output=True).stdout


def test_gentoo_ipxe_takes_media_apart(media: Media) -> None:
    """Its unpacker takes the files by these paths, and the arguments from the one line that is left."""
    for iso in isos(media):
        lines = [line for line in on_iso(iso, "/boot/grub/grub.cfg").decode().splitlines() if "linux /boot" in line]
        (line,) = [line for line in lines if not any(word in line for word in ("docache", "rd.live.ram=1"))]
        assert "root=live:CDLABEL=" in line
        payload = media.tree({"hybrid": "boot-two", "uki": "boot-signed"}.get(iso.name.split("-")[1], "boot"))
        for name in ("boot/gentoo", "boot/gentoo.igz"):
            digest = hashlib.sha512((payload / name).read_bytes()).hexdigest()
            assert hashlib.sha512(on_iso(iso, f"/{name}")).hexdigest() == digest


def test_libosinfo_knows_a_medium_by_its_volume_id(media: Media) -> None:
    hybrid, other, _ = isos(media)
    assert "Gentoo Linux (x86_64)" in said("osinfo-detect", hybrid)
    assert "bootable" in said("osinfo-detect", other)
    assert "Publisher id: GENTOO" in said("isoinfo", "-i", hybrid, "-d")


def test_grub_accepts_its_menus(media: Media, tmp_path: Path) -> None:
    for iso in isos(media):
        names = ["/boot/grub/grub.cfg", "/boot/grub/loopback.cfg"]
        names += ["/EFI/BOOT/grub.cfg"] if "hybrid" in iso.name else []
        for name in names:
            (tmp_path / "menu").write_bytes(on_iso(iso, name))
            said("grub-script-check", tmp_path / "menu")


def test_partition_tables_and_efi_partitions_are_sound(media: Media, disk: Disk, tmp_path: Path) -> None:
    for image in (*isos(media), disk.project / "out" / "demo-disk-raw-amd64-1.0.img"):
        assert "No problems found" in said("sgdisk", "-v", image)
        table = json.loads(said("sfdisk", "--json", image))["partitiontable"]
        (esp,) = [part for part in table["partitions"] if part["type"].startswith("C12A7328")]
        with image.open("rb") as stream, (tmp_path / "esp").open("wb") as target:
            stream.seek(esp["start"] * 512)
            target.write(stream.read(esp["size"] * 512))
        said("fsck.vfat", "-n", tmp_path / "esp")


def test_qemu_finds_no_error_in_a_disk_image(disk: Disk) -> None:
    images = list(disk.store.glob("artifacts/*/tree/*.qcow2"))
    assert images
    for image in images:
        assert "No errors were found" in said("qemu-img", "check", image)


def test_systemd_knows_the_partitions_of_a_disk_image(disk: Disk) -> None:
    if not Path("/dev/loop-control").exists():
        pytest.skip("NOT TESTED: no loop devices")
    image = disk.project / "out" / "demo-disk-raw-amd64-1.0.img"
    found = json.loads(said("systemd-dissect", "--json=short", image).split("\n")[0])
    kinds = {part["designator"]: part["fstype"] for part in found["mounts"]}
    assert kinds == {"root": "ext4", "esp": "vfat"}


def test_podman_imports_a_tarball(disk: Disk, tmp_path: Path) -> None:
    disk.build("packed")
    (archive,) = (disk.project / "out").glob("disk-root-*.tar.zst")
    short = Path(tempfile.mkdtemp(prefix="podman", dir="/tmp"))  # podman takes at most fifty characters
    podman = ["podman", "--root", tmp_path / "root", "--runroot", short, "--storage-driver", "vfs"]
    try:
        said(*podman, "import", "--quiet", archive, "it:1")
        mounted = Path(said(*podman, "image", "mount", "it:1").strip())
        assert (mounted / "etc/hostname").read_text(encoding="utf-8") == "diskdemo\n"
    finally:
        subprocess.run([*podman, "system", "reset", "--force"], check=False, capture_output=True)
        shutil.rmtree(short, ignore_errors=True)
