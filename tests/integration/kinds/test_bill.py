"""bill: bills of the demo agree with the artifacts themselves, and licences with Portage's own code."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from integration.support import DEMO, Run, Warm, build, copy_project
from stagewright.portage.licenses import Accepted, expand
from stagewright.release.bill import Bill, Image
from stagewright.trees import remove_tree

pytestmark = pytest.mark.real

VDB = "var/db/pkg"

TABLES = """
[channels.open]
accept_license = ["0BSD", "GPL-2", "debian-main"]
accept_restrict = ["mirror"]
[channels.narrow]
accept_license = ["0BSD", "GPL-2"]
accept_restrict = ["mirror"]
[stages.packed]
kind = "tarball"
root = "system"
[releases.all]
artifacts = ["iso", "pxe", "packed"]
channel = "open"
sources = true
sources_elsewhere = ["debian/*"]
[releases.refused]
artifacts = ["iso", "packed"]
channel = "narrow"
"""


@dataclass(frozen=True)
class Releases:
    """A copy of the demo with two releases. ``run`` built one of them; the channel of the other one refuses it."""

    warm: Warm
    project: Path
    run: Run

    @property
    def folder(self) -> Path:
        return self.project / "out/all/1.0"

    def bill(self, name: str) -> Bill:
        return Bill.read(next(self.folder.glob(f"**/{name}.bill.json")))


@pytest.fixture(scope="module")
def releases(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Releases]:
    project = copy_project(DEMO, tmp_path_factory.mktemp("releases") / "demo")
    shutil.copy(warm.lock, project)
    with (project / "stagewright.toml").open("a", encoding="utf-8") as stream:
        stream.write(TABLES)
    built = ("seed:debian", "seed:debian-boot", "system", "live", "boot", "live+boot.squashfs", "iso")
    store = warm.copy(built, binpkgs=False)
    yield Releases(warm, project, build("all", "refused", "--keep-going", cwd=project, store=store, check=False))
    remove_tree(store)


@pytest.fixture(scope="module")
def iso(releases: Releases) -> Bill:
    return releases.bill("demo-iso-amd64-1.0.iso")


def packages(bill: Bill, image: Image) -> set[str]:
    return {f"{one.name}-{one.version}" for one in bill.components if image in one.images}


def test_the_packages_of_the_root_are_those_of_its_records(warm: Warm, iso: Bill) -> None:
    """The live root has no records: those of the layer below count."""
    records = {path.parent for path in (warm.tree("system") / VDB).glob("*/*/PF")}
    assert packages(iso, Image.ROOT) == {f"{path.parent.name}/{path.name}" for path in records}
    for path in records:
        license_file = path / "LICENSE"
        text = license_file.read_text(encoding="utf-8").strip() if license_file.exists() else ""
        (one,) = [one for one in iso.components if f"{one.name}-{one.version}" == f"{path.parent.name}/{path.name}"]
        assert one.license == text and one.merged


def test_every_file_of_the_image_has_an_owner_or_is_listed(warm: Warm, iso: Bill) -> None:
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
    listed = {path for one in iso.unowned if one.image is Image.ROOT for path in one.paths}
    assert files - owned == listed
    assert sum(one.files for one in iso.components if Image.ROOT in one.images) == len(owned)


def test_the_payload_is_in_the_bill(warm: Warm, iso: Bill) -> None:
    bill = iso
    (kernel,) = packages(bill, Image.KERNEL)
    assert kernel.startswith("linux-image-") and kernel in packages(bill, Image.MODULES)
    assert any(name.startswith("systemd-boot-efi-") for name in packages(bill, Image.LOADER))
    assert not any(name.startswith("grub") for name in packages(bill, Image.LOADER)), "the ISO takes one loader"
    found = {one.name for one in bill.components if Image.INITRAMFS in one.images}
    assert {"dracut-core", "bash", "libc6", "kmod"} <= found
    assert all(one.license == "debian-main" for one in bill.components if one.kind == "deb")


def test_sources_are_those_of_the_store(warm: Warm, iso: Bill) -> None:
    (busybox,) = [one for one in iso.components if one.name == "sys-apps/busybox"]
    (source,) = busybox.sources
    file = warm.store / "cache/distfiles" / source.name
    said = subprocess.run(["sha512sum", file], check=True, capture_output=True, text=True).stdout
    assert (said.split()[0], file.stat().st_size) == (source.digests["SHA512"], source.size)


def test_all_documents_are_valid(releases: Releases) -> None:
    """By the validators of SPDX 2.3 and CycloneDX 1.6, for the files of the release."""
    found = sorted(releases.folder.rglob("*.spdx.json"))
    assert [path.name.removesuffix(".spdx.json") for path in found] == [
        "demo-iso-amd64-1.0.iso",
        "image.squashfs",
        "system-amd64-1.0.tar.zst",
    ]
    for path in (found[0], found[2]):  # that of the network set has the same packages as that of the ISO
        document = parse_file(str(path))
        assert [message.validation_message for message in validate_full_spdx_document(document)] == []
        urls = [reference.locator for package in document.packages for reference in package.external_references]
        name = path.name.removesuffix(".spdx.json")
        assert len(urls) == len(set(urls)) == len(releases.bill(name).components)
        text = path.with_name(f"{name}.cdx.json").read_text(encoding="utf-8")
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
        assert len(json.loads(text)["components"]) == len(urls)


def test_documents_name_the_artifact_as_sha256sum_and_stat_do(releases: Releases) -> None:
    for path in releases.folder.rglob("*.spdx.json"):
        artifact = path.with_name(path.name.removesuffix(".spdx.json"))
        said = subprocess.run(["sha256sum", artifact], check=True, capture_output=True, text=True).stdout.split()[0]
        (subject,) = [
            package
            for package in json.loads(path.read_text(encoding="utf-8"))["packages"]
            if package["name"] == artifact.name
        ]
        assert {one["algorithm"]: one["checksumValue"] for one in subject["checksums"]}["SHA256"] == said
        described = json.loads((releases.folder / "release.json").read_text(encoding="utf-8"))
        assert described["files"][str(artifact.relative_to(releases.folder))] == os.stat(artifact).st_size


def test_the_bill_of_the_tarball_is_that_of_its_content(releases: Releases, tmp_path: Path) -> None:
    """Packages, licences, sizes and files without owner, by a reading of the unpacked tarball."""
    (tarball,) = releases.folder.glob("*.tar.zst")
    subprocess.run(["tar", "-xf", tarball, "-C", tmp_path], check=True)
    bill = releases.bill(tarball.name)
    vdb = tmp_path / VDB
    read = {
        f"{path.parent.parent.name}/{path.parent.name}": {
            name: (path.with_name(name).read_text(encoding="utf-8").strip() if path.with_name(name).exists() else "")
            for name in ("LICENSE", "SLOT", "USE", "SIZE", "repository", "RESTRICT")
        }
        for path in vdb.glob("*/*/PF")
    }
    said = {
        f"{one.name}-{one.version}": {
            "LICENSE": one.license,
            "SLOT": one.slot,
            "USE": " ".join(one.use),
            "SIZE": str(one.size or ""),
            "repository": one.repository,
            "RESTRICT": " ".join(one.restrict),
        }
        for one in bill.components
    }
    assert said == {name: {**facts, "SIZE": facts["SIZE"].lstrip("0")} for name, facts in read.items()}
    recorded = [path.read_text(encoding="utf-8") for path in vdb.glob("*/*/CONTENTS")]
    owned = {line.split()[1] for text in recorded for line in re.findall(r"^(?:obj|sym) .*", text, re.MULTILINE)}
    files = {f"/{path.relative_to(tmp_path)}" for path in tmp_path.rglob("*") if path.is_symlink() or not path.is_dir()}
    listed = {path for one in bill.unowned for path in one.paths}
    assert {path for path in files - owned if not path.startswith(f"/{VDB}/")} == listed


def test_a_channel_refuses_what_is_only_in_the_payload(releases: Releases) -> None:
    """The system is free for this channel, and so is its tarball. What was only used for building does not count."""
    failed = [one["error"] for one in releases.run.events if one["event"] == "NodeFinished" and one.get("error")]
    text = json.dumps(failed)
    assert {error["reason"] for error in failed} == {"licence-refused"}
    assert "iso: linux-image-" in text and "in kernel: kernel gentoo" in text and "in initramfs: " in text
    assert "debian-main not accepted" in text
    assert "packed: " not in text and "iso: gcc" not in text and "iso: make" not in text


def test_copyright_files_and_sources_are_in_the_release(releases: Releases) -> None:
    """Every package of Debian in an artifact has its terms, every package of Portage its sources."""
    names = {one.name for one in releases.bill("demo-iso-amd64-1.0.iso").components if one.kind == "deb"}
    kept = {path.name for path in (releases.folder / "licenses/debian").iterdir()}
    assert names <= kept and "Debian" in (releases.folder / "licenses/debian/kmod").read_text(encoding="utf-8")
    sources = {path.name for path in (releases.folder / "sources/distfiles").iterdir()}
    assert {one.name for part in releases.bill("image.squashfs").components for one in part.sources} <= sources


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
