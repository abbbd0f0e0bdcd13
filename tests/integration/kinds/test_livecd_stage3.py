"""livecd-stage3: ISOs of one payload share their bits; what cannot boot is reported before anything is made."""

from __future__ import annotations

import json
import struct

import pytest

from integration.sites import Media
from integration.support import build, call

pytestmark = pytest.mark.real


def test_a_payload_of_several_kernels(media: Media) -> None:
    folder = media.tree("boot-two")
    facts = json.loads((folder / "payload.json").read_text(encoding="utf-8"))
    assert [kernel["kernel"] for kernel in facts["kernels"]] == ["boot/gentoo", "boot/second"]
    assert all(kernel["verifies"] and kernel["network"] for kernel in facts["kernels"])
    sizes = [(folder / kernel["initramfs"]).stat().st_size for kernel in facts["kernels"]]
    assert sizes[1] > sizes[0] * 1.5  # the argument for one kernel's initramfs


def test_media_of_one_payload_share_their_bits(media: Media) -> None:
    hybrid, iso, uki = (next(media.tree(name).glob("*.iso")) for name in ("hybrid", "iso", "uki"))
    same = call("media", "check", "--json", str(hybrid), str(iso), cwd=media.project, store=media.store)
    data = json.loads(same.stdout)
    assert data["same"] == dict.fromkeys(("boot/gentoo", "boot/gentoo.igz", "image.squashfs"), True)
    first, second = data["media"]
    ways = {(way["firmware"], way["attach"]) for way in first["ways"]}
    assert ways == {(firmware, attach) for firmware in ("uefi", "bios") for attach in ("cd", "usb")}
    assert [medium["loaders"] for medium in (first, second)] == [["grub"], ["systemd-boot"]]
    assert {entry["kernel"] for entry in first["entries"]} == {"boot/gentoo", "boot/second"}
    lists = {check["against"] for check in first["checks"]}
    assert lists == {"sha512sums", "rd.stagewright.verity", f"{hybrid.name}.DIGESTS", f"{hybrid.name}.sha256"}
    signed = call("media", "check", "--json", str(hybrid), str(uki), cwd=media.project, store=media.store, check=False)
    assert signed.code == 1
    same_as_signed = {"boot/gentoo": False, "boot/gentoo.igz": True, "image.squashfs": True}
    assert json.loads(signed.stdout)["same"] == same_as_signed  # the signature is part of the kernel's file


def test_payloads_that_cannot_boot_are_refused(media: Media) -> None:
    run = build("dropped", "wrong", "--keep-going", cwd=media.project, store=media.store, check=False)
    assert run.code == 1
    assert run.reasons == {"dropped": "build-failed", "wrong": "environment-lacks"}
    assert "made no initramfs" in run.stderr and "initramfs.omit" in run.stderr
    for word in ("isolinux", "memtest86+", "microcode"):
        assert word in run.stderr


def test_programs_of_a_network_set_are_signed_with_the_root_hash_in_them(media: Media) -> None:
    """UEFI specification 2.10, section 32.5: the signature is in the certificate table, entry 4 of the directories."""
    program = (media.project / "out/pxe-signed/boot.efi").read_bytes()
    (header,) = struct.unpack_from("<I", program, 0x3C)
    place, size = struct.unpack_from("<II", program, header + 24 + 112 + 8 * 4)
    assert 0 < place < place + size <= len(program)
    assert program.index(b"rd.stagewright.verity=") < place
