"""The bill of materials of the demo agrees with its artifacts and records, and licences with Portage's own code."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from integration.support import Warm
from stagewright.portage.licenses import Accepted, expand
from stagewright.release.bill import Bill, Image
from stagewright.release.spdx import write_spdx
from stagewright.release.subject import Subject, read_bill

pytestmark = pytest.mark.real

VDB = "var/db/pkg"


@pytest.fixture(scope="module")
def iso(warm: Warm) -> tuple[Subject, Bill]:
    (manifest,) = warm.tree("iso").glob("*.manifest.json")
    return read_bill(manifest)


def packages(bill: Bill, image: Image) -> set[str]:
    return {f"{one.name}-{one.version}" for one in bill.components if image in one.images}


def test_the_packages_of_the_root_are_those_of_its_records(warm: Warm, iso: tuple[Subject, Bill]) -> None:
    """The live root has no records: those of the layer below count."""
    records = {path.parent for path in (warm.tree("system") / VDB).glob("*/*/PF")}
    assert packages(iso[1], Image.ROOT) == {f"{path.parent.name}/{path.name}" for path in records}
    for path in records:
        license_file = path / "LICENSE"
        text = license_file.read_text(encoding="utf-8").strip() if license_file.exists() else ""
        (one,) = [one for one in iso[1].components if f"{one.name}-{one.version}" == f"{path.parent.name}/{path.name}"]
        assert one.license == text and one.merged


def test_every_file_of_the_image_has_an_owner_or_is_listed(warm: Warm, iso: tuple[Subject, Bill]) -> None:
    image = warm.tree("live+boot.squashfs") / "image.squashfs"
    said = subprocess.run(["unsquashfs", "-d", "", "-lls", image], check=True, capture_output=True, text=True).stdout
    lines = [line.split(maxsplit=5)[5] for line in said.splitlines() if line[:1] in ("-", "l", "c", "b")]
    files = {line.partition(" -> ")[0] for line in lines if "/lib/modules/" not in line}
    owned: set[str] = set()
    for path in (warm.tree("system") / VDB).glob("*/*/CONTENTS"):
        for line in path.read_text(encoding="utf-8").splitlines():
            kind, _, rest = line.partition(" ")
            if kind in ("obj", "sym"):
                owned.add(rest.partition(" -> ")[0] if kind == "sym" else rest.rsplit(" ", 2)[0])
    listed = {path for one in iso[1].unowned if one.image is Image.ROOT for path in one.paths}
    assert files - owned == listed
    assert sum(one.files for one in iso[1].components if Image.ROOT in one.images) == len(owned)


def test_the_payload_is_in_the_bill(warm: Warm, iso: tuple[Subject, Bill]) -> None:
    bill = iso[1]
    (kernel,) = packages(bill, Image.KERNEL)
    assert kernel.startswith("linux-image-") and kernel in packages(bill, Image.MODULES)
    assert any(name.startswith("systemd-boot-efi-") for name in packages(bill, Image.LOADER))
    assert not any(name.startswith("grub") for name in packages(bill, Image.LOADER)), "the ISO takes one loader"
    found = {one.name for one in bill.components if Image.INITRAMFS in one.images}
    assert {"dracut-core", "bash", "libc6", "kmod"} <= found
    assert all(one.license == "debian-main" for one in bill.components if one.kind == "deb")


def test_sources_are_those_of_the_store(warm: Warm, iso: tuple[Subject, Bill]) -> None:
    (busybox,) = [one for one in iso[1].components if one.name == "sys-apps/busybox"]
    (source,) = busybox.sources
    file = warm.store / "cache/distfiles" / source.name
    said = subprocess.run(["sha512sum", file], check=True, capture_output=True, text=True).stdout
    assert (said.split()[0], file.stat().st_size) == (source.digests["SHA512"], source.size)


def test_the_spdx_document_of_the_demo_is_valid(iso: tuple[Subject, Bill], tmp_path: Path) -> None:
    subject, bill = iso
    path = tmp_path / "demo.spdx.json"
    write_spdx(bill, subject, path)
    document = parse_file(str(path))
    assert [message.validation_message for message in validate_full_spdx_document(document)] == []
    urls = [reference.locator for package in document.packages for reference in package.external_references]
    assert len(urls) == len(set(urls)) == len(bill.components)


PORTAGE = """
import json, sys
from types import SimpleNamespace
from portage.package.ebuild._config.LicenseManager import LicenseManager
asked = json.load(sys.stdin)
found = []
for words, text, use in asked["cases"]:
    manager = LicenseManager(SimpleNamespace(profile_locations=[]), user_config=False)
    manager._license_groups = asked["groups"]
    manager.set_accept_license_str(words)
    found.append(manager.getMissingLicenses("a/b-1", use, text, "0", "demo"))
print(json.dumps(found))
"""

GROUPS = {"FREE": ["A", "B", "@MORE"], "MORE": ["C", "@FREE"]}


def expression(chance: random.Random, depth: int = 0) -> str:
    """Return a random LICENSE."""
    parts = []
    for _ in range(chance.randint(1, 3)):
        kind = chance.choice(["word", "word", "any", "when", "all"]) if depth < 3 else "word"
        inner = expression(chance, depth + 1) if kind != "word" else ""
        flag = chance.choice(["x?", "!x?", "y?"])
        texts = {"word": chance.choice("ABCDE"), "any": f"|| ( {inner} )", "when": f"{flag} ( {inner} )"}
        parts.append(texts.get(kind, f"( {inner} )"))
    return " ".join(parts)


def portage(root: Path, asked: dict[str, Any]) -> list[list[str]]:
    """Return the answers of Portage in a root, which is mounted read-only."""
    read_only = f'mount --bind "{root}" "{root}" && mount -o remount,ro,bind "{root}"'
    script = f'{read_only} && exec chroot "{root}" python3 -B -c "$1"'
    words = ["unshare", "--mount", "sh", "-c", script, "sh", PORTAGE]
    done = subprocess.run(words, input=json.dumps(asked), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    return answers


def test_licences_are_decided_as_by_portage(warm: Warm) -> None:
    chance = random.Random(14)
    accepts = ["@FREE", "A -@MORE", "* -D", "-* B", "@FREE -A", "", "A D"]
    cases = [(chance.choice(accepts), expression(chance), chance.choice(["", "x", "y", "x y"])) for _ in range(600)]
    answers = portage(warm.tree("seed:debian"), {"groups": GROUPS, "cases": cases})
    for (words, text, use), answer in zip(cases, answers, strict=True):
        missing = Accepted(expand(words.split(), GROUPS)).missing(text, use.split())
        if missing != ["no-license"]:
            assert set(missing) == set(answer), (words, text, use)
