"""SPDX and CycloneDX documents of a bill: valid by the validators of their libraries, and the same every time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from stagewright.portage.ebuild_facts import SourceFile
from stagewright.release.bill import Bill, Component, Image, Unowned, joined
from stagewright.release.cyclonedx import write_cyclonedx
from stagewright.release.spdx import write_spdx
from stagewright.release.spdx_licenses import Licenses
from stagewright.release.subject import Subject, package_url

SOURCE = SourceFile(
    name="busybox-1.36.tar.bz2",
    uris=("https://busybox.net/busybox-1.36.tar.bz2",),
    size=12,
    digests={"BLAKE2B": "ab" * 64, "SHA512": "cd" * 64},
)
BUSYBOX = Component(
    kind="ebuild",
    name="sys-apps/busybox",
    version="1.36-r1",
    images=(Image.ROOT, Image.INITRAMFS),
    why={"root": "installed by system", "initramfs": "in the initramfs of kernel gentoo"},
    license="GPL-2 || ( MIT own )",
    slot="0",
    repository="demo",
    tree="git:1234",
    use=("static",),
    restrict=("mirror",),
    description='Many "small" programs, é',
    homepage="https://busybox.net https://other.example",
    sources=(SOURCE, SourceFile(name="local.patch")),
    merged=True,
)
FIRMWARE = Component(
    kind="deb",
    name="firmware-x",
    version="1:2~3+b1",
    images=(Image.FIRMWARE,),
    why={"firmware": "`firmware` asks for it"},
    license="debian-non-free-firmware",
    arch="all",
    source="firmware 2",
    section="non-free-firmware/kernel",
)
BILL = Bill(
    components=(BUSYBOX, FIRMWARE, Component(kind="ebuild", name="virtual/x", version="0", images=(Image.ROOT,))),
    unowned=(Unowned(image=Image.ROOT, origin="live", count=3, paths=("/etc/motd", "/a", "/b")),),
)
SUBJECT = Subject("demo-1.iso", "demo", "1", "f" * 64, 1_795_132_800, {"sha512": "ab" * 64, "sha256": "cd" * 32})


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_spdx_document_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "demo.spdx.json"
    write_spdx(BILL, SUBJECT, path)
    problems = [message.validation_message for message in validate_full_spdx_document(parse_file(str(path)))]
    assert problems == []
    data = read(path)
    packages = {package["name"]: package for package in data["packages"]}
    assert data["creationInfo"]["created"] == "2026-11-20T00:00:00Z"
    assert packages["sys-apps/busybox"]["licenseDeclared"] == "GPL-2.0-only AND (MIT OR LicenseRef-own)"
    assert packages["firmware-x"]["licenseDeclared"] == "NOASSERTION"
    assert packages[SOURCE.name]["downloadLocation"] == SOURCE.uris[0]
    assert {one["algorithm"] for one in packages[SOURCE.name]["checksums"]} == {"BLAKE2b-512", "SHA512"}
    assert [one["licenseId"] for one in data["hasExtractedLicensingInfos"]] == ["LicenseRef-own"]
    contained = [one for one in data["relationships"] if one["relationshipType"] == "CONTAINS"]
    assert {one["spdxElementId"] for one in contained if "busybox" in one["relatedSpdxElement"]} == {
        "SPDXRef-Image-root",
        "SPDXRef-Image-initramfs",
    }


def test_the_cyclonedx_document_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "demo.cdx.json"
    write_cyclonedx(BILL, SUBJECT, path)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(path.read_text(encoding="utf-8")) is None
    data = read(path)
    components = {component["name"]: component for component in data["components"]}
    assert data["metadata"]["timestamp"] == "2026-11-20T00:00:00+00:00"
    busybox = components["busybox"]
    assert (busybox["group"], busybox["version"]) == ("sys-apps", "1.36-r1")
    assert busybox["purl"] == "pkg:ebuild/sys-apps/busybox@1.36-r1?repository=demo&slot=0"
    assert busybox["licenses"] == [{"expression": "GPL-2.0-only AND (MIT OR LicenseRef-own)"}]
    assert components["firmware-x"]["licenses"] == [{"license": {"name": "debian-non-free-firmware"}}]
    places = {one["type"]: one for one in busybox["externalReferences"]}
    assert places["source-distribution"]["url"] in ("local.patch", SOURCE.uris[0])
    properties = {one["name"]: one["value"] for one in busybox["properties"]}
    assert properties["stagewright:image:initramfs"] == "in the initramfs of kernel gentoo"


@pytest.mark.parametrize("write", [write_spdx, write_cyclonedx])
def test_the_same_bill_gives_the_same_bytes(tmp_path: Path, write: Any) -> None:
    for name in ("a", "b"):
        write(BILL, SUBJECT, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("GPL-2+", "GPL-2.0-or-later"),
        ("0BSD", "0BSD"),
        ("|| ( GPL-2 GPL-3 ) MIT", "(GPL-2.0-only OR GPL-3.0-only) AND MIT"),
        ("|| ( ( GPL-2 MIT ) own+ )", "(GPL-2.0-only AND MIT) OR LicenseRef-own-ee6ac277"),
        ("", "NOASSERTION"),
        ("a ( b", "NOASSERTION"),
    ],
)
def test_licences_become_expressions(text: str, expression: str) -> None:
    assert Licenses().of(Component(kind="ebuild", name="a/b", version="1", license=text)) == expression


def test_licences_of_debian_come_from_the_copyright_file() -> None:
    package = FIRMWARE.model_copy(update={"copyrights": ("GPL-2+", "Expat", "public-domain")})
    licenses = Licenses()
    assert licenses.of(package) == "GPL-2.0-or-later AND MIT AND LicenseRef-public-domain"
    assert licenses.refs == {"LicenseRef-public-domain": "public-domain"}


def test_packages_have_urls() -> None:
    assert package_url(FIRMWARE) == "pkg:deb/debian/firmware-x@1%3A2~3%2Bb1?arch=all"


def test_a_bill_is_read_as_it_was_written(tmp_path: Path) -> None:
    BILL.write(tmp_path / "bill.json")
    assert Bill.read(tmp_path / "bill.json") == BILL


def test_bills_are_joined_by_package() -> None:
    kernel = BUSYBOX.model_copy(
        update={"images": (Image.KERNEL,), "why": {"kernel": "x"}, "sources": (), "merged": False}
    )
    found = joined([Bill(components=(kernel,)), BILL])
    busybox = next(one for one in found.components if one.name == "sys-apps/busybox")
    assert busybox.images == (Image.ROOT, Image.KERNEL, Image.INITRAMFS)
    assert busybox.sources == BUSYBOX.sources and busybox.why["kernel"] == "x"
    assert [one.name for one in found.components] == ["firmware-x", "sys-apps/busybox", "virtual/x"]
