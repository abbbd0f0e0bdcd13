"""Payloads and media from the demo's parts: what is refused before a screen stays black, and two boots more."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.support import DEMO, Warm, build, call, copy_project, plan

pytestmark = pytest.mark.real

OVMF = Path("/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd")
SNAKEOIL = Path("/usr/share/ovmf/PkKek-1-snakeoil.key")
"""Keys that everybody has, for tests: variables that know the certificate, and the private key (package ovmf)."""

STAGES = """
[stages.boot-two]
extends = "boot"
loaders = ["grub-hybrid"]
kernels = { second = { dracut_arguments = ["--no-compress"] }, first = {} }
default = "first"

[stages.boot-signed]
extends = "boot"
loaders = ["uki"]
secure_boot = { key = "{key}", certificate = "db.crt" }

[stages.hybrid]
extends = "iso"
boot = "boot-two"
loader = "grub-hybrid"
entries = ["ram"]

[stages.hybrid.kernel_arguments]
console = ["tty0", "ttyS0,115200"]
extra = ["no_timer_check"]
verify = true

[stages.uki]
extends = "iso"
boot = "boot-signed"
loader = "uki"

[tests.hybrid-bios]
boots = "hybrid"
firmware = "bios"
timeout = 600
expect = ["The media check is complete", "the live system is ready"]
login = { user = "root" }
commands = [{ run = "cat /proc/cmdline", expect = "rd.live.check=1" }]
poweroff = true

[tests.uki-secure]
boots = "uki"
firmware = "uefi-secure"
variables = "variables.fd"
timeout = 600
expect = ["the live system is ready"]

[tests.refused]
boots = "iso"
firmware = "uefi-secure"
variables = "variables.fd"
timeout = 600
refused = true

[stages.dropped]
extends = "boot"
[stages.dropped.initramfs]
modules = ["dmsquash-live"]
omit = ["systemd", "systemd-initrd", "crypt", "i18n", "terminfo", "resume", "network"]

[stages.wrong]
extends = "boot"
loaders = ["isolinux"]
memtest = true
microcode = true
"""


@dataclass(frozen=True)
class Media:
    """The demo with further payloads and media."""

    project: Path
    store: Path

    def tree(self, node: str) -> Path:
        key = plan(cwd=self.project, store=self.store)[node]["key"]
        return self.store / "artifacts" / key / "tree"


@pytest.fixture(scope="module")
def media(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Media]:
    if not (OVMF.exists() and SNAKEOIL.exists()):
        pytest.skip("NOT TESTED: no OVMF with keys for tests (package ovmf)")
    project = copy_project(DEMO, tmp_path_factory.mktemp("media") / "media")
    shutil.copy(warm.lock, project)
    shutil.copy(OVMF, project / "variables.fd")
    key = project.parent / "db.key"
    words = ["openssl", "pkey", "-in", SNAKEOIL, "-passin", "pass:snakeoil", "-out", key]
    subprocess.run(words, check=True, capture_output=True)
    shutil.copy(SNAKEOIL.with_suffix(".pem"), project / "db.crt")
    with (project / "stagewright.toml").open("a", encoding="utf-8") as stream:
        stream.write(STAGES.replace("{key}", str(key)))
    store = warm.copy(["seed:debian", "seed:debian-boot", "system"], binpkgs=True)
    build("hybrid", "uki", "iso", cwd=project, store=store)
    yield Media(project, store)
    shutil.rmtree(store)


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
    assert lists == {"sha512sums", f"{hybrid.name}.DIGESTS", f"{hybrid.name}.sha256"}
    signed = call("media", "check", "--json", str(hybrid), str(uki), cwd=media.project, store=media.store, check=False)
    assert signed.code == 1
    same_as_signed = {"boot/gentoo": False, "boot/gentoo.igz": True, "image.squashfs": True}
    assert json.loads(signed.stdout)["same"] == same_as_signed  # the signature is part of the kernel's file


def test_what_would_end_in_a_black_screen_is_found_at_the_payload(media: Media) -> None:
    run = build("dropped", "wrong", "--keep-going", cwd=media.project, store=media.store, check=False)
    assert run.code == 1
    assert run.reasons == {"dropped": "build-failed", "wrong": "environment-lacks"}
    assert "made no initramfs" in run.stderr and "initramfs.omit" in run.stderr
    for word in ("isolinux", "memtest86+", "microcode"):
        assert word in run.stderr


@pytest.mark.boot
def test_bios_starts_the_hybrid_and_its_initramfs_checks_it(media: Media) -> None:
    build("hybrid-bios", cwd=media.project, store=media.store)


@pytest.mark.boot
def test_secure_firmware_starts_what_is_signed_and_nothing_else(media: Media) -> None:
    build("uki-secure", "refused", cwd=media.project, store=media.store)
    console = (media.project / "out/refused/console.log").read_text(errors="replace", encoding="utf-8")
    assert "Linux version" not in console
