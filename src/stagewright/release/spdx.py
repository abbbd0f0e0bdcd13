"""A bill of materials as SPDX 2.3, in JSON.

The document describes the artifact, which contains its images, which contain packages. A package of Portage is
generated from its source files, which are packages too, with their digests. The same bill gives the same bytes.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stagewright
from stagewright.portage.ebuild_facts import SourceFile
from stagewright.release.bill import Bill, Component, Image, Unowned
from stagewright.release.spdx_licenses import NOASSERTION, Licenses
from stagewright.release.subject import Subject, package_url

if TYPE_CHECKING:
    from spdx_tools.spdx.model import Document

SUFFIX = "spdx.json"

_ALGORITHMS = {"BLAKE2B": "BLAKE2B_512", "SHA512": "SHA512", "SHA256": "SHA256", "SHA1": "SHA1", "MD5": "MD5"}
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9.-]+")


LIBRARY = "spdx-tools"


def write_spdx(bill: Bill, subject: Subject, path: Path, texts: Mapping[str, str] | None = None) -> None:
    """Write a bill as an SPDX document. ``texts`` are those of licences, by name."""
    from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter  # noqa: PLC0415  it takes long

    data = DocumentConverter().convert(document_of(bill, subject, texts or {}))
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def document_of(bill: Bill, subject: Subject, texts: Mapping[str, str]) -> Document:
    """Return the SPDX document of a bill, with the texts of licences that have no id there."""
    from spdx_tools.spdx import model  # noqa: PLC0415

    builder, identifier = _Builder(model, bill, subject), subject.identifier(bill, LIBRARY)
    info = model.CreationInfo(
        spdx_version="SPDX-2.3",
        spdx_id="SPDXRef-DOCUMENT",
        name=subject.name,
        document_namespace=f"https://spdx.org/spdxdocs/{_NOT_IN_ID.sub('-', subject.name)}-{identifier}",
        creators=[model.Actor(model.ActorType.TOOL, f"stagewright-{stagewright.__version__}")],
        created=subject.time.replace(tzinfo=None),
    )
    packages, relations = builder.packages(), builder.relations()
    named = [
        model.ExtractedLicensingInfo(license_id=ref, license_name=name, extracted_text=texts.get(name) or _NO_TEXT)
        for ref, name in sorted(builder.licenses.refs.items())
    ]
    return model.Document(info, packages=packages, relationships=relations, extracted_licensing_info=named)


_NO_TEXT = "The text is part of the copyright files of the packages: see licenses/ of the release."


class _Builder:
    """The packages of one document and their relations."""

    def __init__(self, model: Any, bill: Bill, subject: Subject) -> None:
        self.model, self.bill, self.subject = model, bill, subject
        self.licenses = Licenses()
        used: dict[str, int] = {}
        self.ids = [_unique(f"Package-{one.name}-{one.version}", used) for one in bill.components]
        every = {(source.name, str(sorted(source.digests.items()))): source for source in _sources(bill)}
        self.sources = {key: (_unique(f"Source-{key[0]}", used), source) for key, source in every.items()}
        self.images = [image for image in Image if any(image in one.images for one in bill.components)]
        self.images += [one.image for one in bill.unowned if one.image not in self.images]
        self.unowned = [(_unique(f"Files-{one.image}-{one.origin}", used), one) for one in bill.unowned]

    def packages(self) -> list[Any]:
        """Return the artifact, its images, its packages, their sources, and the files without owner."""
        artifact = self._package(
            "SPDXRef-Artifact",
            self.subject.name,
            version=self.subject.version,
            checksums=self._checksums({name.upper(): value for name, value in self.subject.digests.items()}),
        )
        images = [self._package(f"SPDXRef-Image-{image}", str(image)) for image in dict.fromkeys(self.images)]
        found = [self._of(spdx_id, one) for spdx_id, one in zip(self.ids, self.bill.components, strict=True)]
        sources = [self._source(spdx_id, source) for spdx_id, source in self.sources.values()]
        files = [self._files(spdx_id, one) for spdx_id, one in self.unowned]
        return [artifact, *images, *found, *sources, *files]

    def relations(self) -> list[Any]:
        """Return what contains what, and what is generated from what."""
        kind = self.model.RelationshipType
        found = [("SPDXRef-DOCUMENT", kind.DESCRIBES, "SPDXRef-Artifact")]
        found += [("SPDXRef-Artifact", kind.CONTAINS, f"SPDXRef-Image-{image}") for image in dict.fromkeys(self.images)]
        for spdx_id, one in zip(self.ids, self.bill.components, strict=True):
            found += [(f"SPDXRef-Image-{image}", kind.CONTAINS, spdx_id) for image in one.images]
            found += [(spdx_id, kind.GENERATED_FROM, self._source_id(source)) for source in one.sources]
        found += [(f"SPDXRef-Image-{one.image}", kind.CONTAINS, spdx_id) for spdx_id, one in self.unowned]
        return [self.model.Relationship(*relation) for relation in dict.fromkeys(found)]

    def _source_id(self, source: SourceFile) -> str:
        return self.sources[source.name, str(sorted(source.digests.items()))][0]

    def _of(self, spdx_id: str, one: Component) -> Any:
        model, text = self.model, self.licenses.of(one)
        url = model.ExternalPackageRef(model.ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", package_url(one), None)
        return self._package(
            spdx_id,
            one.name,
            version=one.version,
            license_declared=_expression(text),
            homepage=one.homepage.split()[0] if one.homepage.startswith(("https://", "http://")) else None,
            summary=one.description or None,
            source_info=f"built from {one.source}" if one.source else None,
            external_references=[url],
            comment=_comment(one),
        )

    def _source(self, spdx_id: str, source: SourceFile) -> Any:
        location = next((uri for uri in source.uris if uri.startswith(("https://", "http://", "ftp://"))), None)
        checksums = self._checksums(source.digests)
        return self._package(spdx_id, source.name, location=location, checksums=checksums)

    def _files(self, spdx_id: str, one: Unowned) -> Any:
        comment = "\n".join([f"{one.count} files that no package owns, made by {one.origin}:", *one.paths])
        return self._package(spdx_id, f"files of {one.origin} in {one.image}", comment=comment)

    def _checksums(self, digests: Mapping[str, str]) -> list[Any]:
        model = self.model
        return [
            model.Checksum(model.ChecksumAlgorithm[_ALGORITHMS[name]], value)
            for name, value in sorted(digests.items())
            if name in _ALGORITHMS
        ]

    def _package(self, spdx_id: str, name: str, *, location: str | None = None, **more: Any) -> Any:
        place = location or self.model.SpdxNoAssertion()
        return self.model.Package(spdx_id, name, place, files_analyzed=False, **more)


@functools.cache
def _licensing() -> Any:
    from license_expression import get_spdx_licensing  # noqa: PLC0415

    return get_spdx_licensing()  # it makes a new index of all licences at each call


def _expression(text: str) -> Any:
    from spdx_tools.spdx.model import SpdxNoAssertion  # noqa: PLC0415

    return SpdxNoAssertion() if text == NOASSERTION else _licensing().parse(text)


def _comment(one: Component) -> str:
    """Return what SPDX has no field for, one fact on each line."""
    facts = {
        "license": one.license,
        "use": " ".join(one.use),
        "slot": one.slot,
        "repository": " ".join(filter(None, (one.repository, one.tree))),
        "restrict": " ".join(one.restrict),
    }
    lines = [f"{name}: {value}" for name, value in facts.items() if value]
    return "\n".join([*lines, *(f"{image}: {why}" for image, why in sorted(one.why.items()))])


def _sources(bill: Bill) -> Iterator[SourceFile]:
    for one in bill.components:
        yield from one.sources


def _unique(name: str, used: dict[str, int]) -> str:
    """Return a new id in a document that begins with a name."""
    plain = f"SPDXRef-{_NOT_IN_ID.sub('-', name)}"
    used[plain] = used.get(plain, 0) + 1
    return plain if used[plain] == 1 else f"{plain}-{used[plain]}"
