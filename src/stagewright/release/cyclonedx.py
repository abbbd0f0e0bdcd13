"""A bill of materials as CycloneDX 1.6, in JSON. The same bill gives the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stagewright
from stagewright.release.bill import Bill, Component
from stagewright.release.spdx_licenses import NOASSERTION, Licenses
from stagewright.release.subject import Subject, package_url

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom

SUFFIX = "cdx.json"

LIBRARY = "cyclonedx-python-lib"

_ALGORITHMS = {"BLAKE2B": "BLAKE2B_512", "SHA512": "SHA_512", "SHA256": "SHA_256", "SHA1": "SHA_1", "MD5": "MD5"}


def write_cyclonedx(bill: Bill, subject: Subject, path: Path) -> None:
    """Write a bill as a CycloneDX document."""
    from cyclonedx.output import make_outputter  # noqa: PLC0415  it takes long
    from cyclonedx.schema import OutputFormat, SchemaVersion  # noqa: PLC0415

    output = make_outputter(bom_of(bill, subject), OutputFormat.JSON, SchemaVersion.V1_6)
    data = json.loads(output.output_as_string())
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def bom_of(bill: Bill, subject: Subject) -> Bom:
    """Return the CycloneDX document of a bill."""
    from cyclonedx.model import Property  # noqa: PLC0415
    from cyclonedx.model.bom import Bom, BomMetaData  # noqa: PLC0415
    from cyclonedx.model.component import Component as Entry  # noqa: PLC0415
    from cyclonedx.model.component import ComponentType  # noqa: PLC0415
    from cyclonedx.model.tool import ToolRepository  # noqa: PLC0415

    tool = Entry(name="stagewright", version=stagewright.__version__, type=ComponentType.APPLICATION)
    artifact = Entry(
        name=subject.name,
        version=subject.version,
        type=ComponentType.OPERATING_SYSTEM,
        bom_ref=f"artifact:{subject.name}",
        hashes=_hashes({name.upper(): value for name, value in subject.digests.items()}),
        properties=[
            Property(name=f"stagewright:files-without-owner:{one.image}:{one.origin}", value=str(one.count))
            for one in bill.unowned
        ],
    )
    licenses, refs = Licenses(), _refs(bill)
    bom = Bom(
        serial_number=subject.identifier(bill, LIBRARY),
        metadata=BomMetaData(timestamp=subject.time, tools=ToolRepository(components=[tool]), component=artifact),
        components=[_component(one, ref, licenses) for one, ref in zip(bill.components, refs, strict=True)],
    )
    bom.register_dependency(artifact, bom.components)
    return bom


def _refs(bill: Bill) -> list[str]:
    """Return a reference for each package that is unique in the document: its address, numbered if it has equals."""
    used: dict[str, int] = {}
    refs = []
    for one in bill.components:
        url = package_url(one)
        used[url] = used.get(url, 0) + 1
        refs.append(url if used[url] == 1 else f"{url}#{used[url]}")
    return refs


def _component(one: Component, ref: str, licenses: Licenses) -> Any:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, Property, XsUri  # noqa: PLC0415
    from cyclonedx.model.component import Component as Entry  # noqa: PLC0415
    from cyclonedx.model.component import ComponentType  # noqa: PLC0415
    from packageurl import PackageURL  # noqa: PLC0415

    group, _, name = one.name.rpartition("/")
    url = package_url(one)
    places = [
        ExternalReference(
            type=ExternalReferenceType.SOURCE_DISTRIBUTION,
            url=XsUri(source.uris[0] if source.uris else source.name),
            comment=source.name,
            hashes=_hashes(source.digests),
        )
        for source in one.sources
    ]
    if one.homepage:
        places.append(ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(one.homepage.split()[0])))
    return Entry(
        name=name,
        group=group or None,
        version=one.version,
        type=ComponentType.FIRMWARE
        if one.images and set(one.images) <= {"firmware", "microcode"}
        else ComponentType.LIBRARY,
        bom_ref=ref,
        purl=PackageURL.from_string(url),
        description=one.description or None,
        licenses=_licenses(one, licenses),
        external_references=places,
        properties=[Property(name=f"stagewright:{key}", value=value) for key, value in _properties(one)],
    )


def _licenses(one: Component, licenses: Licenses) -> Iterable[Any]:
    from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression  # noqa: PLC0415

    text = licenses.of(one)
    if text != NOASSERTION:
        return [LicenseExpression(text)]
    return [DisjunctiveLicense(name=one.license)] if one.license else []


def _hashes(digests: Mapping[str, str]) -> list[Any]:
    from cyclonedx.model import HashAlgorithm, HashType  # noqa: PLC0415

    known = {name: value for name, value in digests.items() if name in _ALGORITHMS}
    return [HashType(alg=HashAlgorithm[_ALGORITHMS[name]], content=value) for name, value in known.items()]


def _properties(one: Component) -> Iterable[tuple[str, str]]:
    facts = {
        "license": one.license,
        "use": " ".join(one.use),
        "slot": one.slot,
        "repository": one.repository,
        "repository-tree": one.tree,
        "restrict": " ".join(one.restrict),
        "source-package": one.source,
    }
    yield from ((name, value) for name, value in facts.items() if value)
    for image in one.images:
        yield f"image:{image}", one.why.get(image, "")
