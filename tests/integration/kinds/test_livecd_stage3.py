"""livecd-stage3: ISOs of one payload share their bits; what cannot boot is reported before anything is made."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from soft_token import LABEL, MODULE, PIN, URI, lacking, soft_token

from integration.sites import Media
from integration.support import build, call, copy_project, edit

pytestmark = pytest.mark.real


def test_a_payload_of_several_kernels(media: Media) -> None:
    folder = media.tree("boot-two")
    facts = json.loads((folder / "payload.json").read_text(encoding="utf-8"))
    assert [kernel["kernel"] for kernel in facts["kernels"]] == ["boot/gentoo", "boot/second"]
    assert all(kernel["verifies"] and kernel["network"] for kernel in facts["kernels"])
    sizes = [(folder / kernel["initramfs"]).stat().st_size for kernel in facts["kernels"]]
    assert sizes[1] > sizes[0] * 1.5  # the argument for one kernel's initramfs
    assert [size % 4 for size in sizes] == [0, 0]  # others can append archives


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
    assert first["volume_id"] == "Gentoo amd64 20261120T000000Z"  # test_boots.py boots it
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


@pytest.mark.skipif(bool(lacking()), reason=f"NOT TESTED: no {lacking()}")
def test_workers_sign_with_keys_on_a_token(media: Media, tmp_path: Path) -> None:
    project = copy_project(media.project, tmp_path / "project")
    shutil.copy(media.project / "stagewright.lock", project)
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=ipxe", "-days", "30"]
    words += ["-addext", "keyUsage=digitalSignature", "-addext", "extendedKeyUsage=codeSigning"]
    words += ["-keyout", str(tmp_path / "ipxe.key"), "-out", str(project / "ipxe.crt")]
    subprocess.run(words, check=True, capture_output=True)
    more = f'module = "{MODULE}", module_variables = ["SOFTHSM2_CONF"] }}'
    secure, ipxe = (f'{{ key = "{URI.replace(LABEL, label)}", certificate = ' for label in ("efi", "ipxe"))
    edit(project, f'{{ key = "{media.project.parent}/db.key", certificate = "db.crt" }}', f'{secure}"db.crt", {more}')
    edit(
        project,
        'boot = "boot-signed"\nuki = true',
        f'boot = "boot-signed"\nuki = true\nsign = {ipxe}"ipxe.crt", {more}',
    )
    with soft_token() as token:
        token.add(media.project.parent / "db.key", "efi", "01")
        token.add(tmp_path / "ipxe.key", "ipxe", "02")
        refused = build("pxe-signed", cwd=project, store=media.store, check=False, env=token.environment)
        assert (refused.code, "STAGEWRIGHT_TOKEN_PIN is not set" in refused.stderr) == (2, True), refused
        env = {**token.environment, "STAGEWRIGHT_TOKEN_PIN": PIN}
        run = build("pxe-signed", cwd=project, store=media.store, env=env)
    assert run.built() == {"pxe-signed"}  # the payload stays: its key covers the certificate, not the token
    out = project / "out/pxe-signed"
    subprocess.run(["sbverify", "--cert", project / "db.crt", out / "boot.efi"], check=True, capture_output=True)
    words = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-CAfile", str(project / "ipxe.crt")]
    words += ["-purpose", "any", "-out", "/dev/null", "-in"]
    for name in ("boot.ipxe", "boot/gentoo", "boot/gentoo.igz"):
        command = [*words, str(out / f"{name}.sig"), "-content", str(out / name)]
        subprocess.run(command, check=True, capture_output=True)
    plan = call("plan", "--json", cwd=project, store=media.store)
    assert PIN not in run.stdout + run.stderr + plan.stdout
    places = [project, *(media.store / name for name in ("logs", "events", "history", "projects", "work"))]
    metas = sorted(media.store.glob("*/*/meta.json"))
    assert metas
    found = subprocess.run(["grep", "-rlF", PIN, *places, *metas], check=False, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (1, ""), found
