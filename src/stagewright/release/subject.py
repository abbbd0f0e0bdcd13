"""The subject of a bill of materials: an artifact, by its manifest, and identifiers that follow from its key."""

from __future__ import annotations

import datetime
import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

import stagewright
from stagewright.release.bill import Bill, Component

_SPACE = uuid.UUID("3e9d7c39-6d0e-5c1c-9d53-5d8f0a4f2a11")
"""Name space of the identifiers of bills (RFC 9562, version 5)."""


@dataclass(frozen=True)
class Subject:
    """An artifact. ``digests`` are hexadecimal by algorithm, ``epoch`` is in seconds since 1970."""

    name: str
    project: str
    version: str
    key: str
    epoch: int
    digests: Mapping[str, str]

    def identifier(self, bill: Bill, *libraries: str) -> uuid.UUID:
        """Return an identifier for a document of a bill that these libraries write. Another content has another one."""
        content = json.dumps([bill.to_dict(), [f"{name} {version(name)}" for name in libraries]], sort_keys=True)
        digest = hashlib.sha256(content.encode(errors="replace")).hexdigest()
        return uuid.uuid5(_SPACE, f"{self.key} {self.name} {stagewright.__version__} {digest}")

    @property
    def time(self) -> datetime.datetime:
        """The time stamp."""
        return datetime.datetime.fromtimestamp(self.epoch, datetime.UTC)


def subject_of(manifest: Mapping[str, Any]) -> Subject:
    """Return the artifact that a manifest describes."""
    artifact, project = manifest["artifact"], manifest["project"]
    return Subject(
        name=artifact["file"],
        project=project["name"],
        version=project["version"],
        key=manifest["key"],
        epoch=project["source_date_epoch"],
        digests=artifact["digests"],
    )


def package_url(component: Component) -> str:
    """Return the package URL (purl) of a package."""
    release = quote(component.version, safe="")
    if component.kind == "deb":
        head, qualifiers = f"deb/debian/{quote(component.name, safe='')}", {"arch": component.arch}
    else:
        head = f"ebuild/{quote(component.name, safe='/')}"
        qualifiers = {"repository": component.repository, "slot": component.slot}
    tail = "&".join(f"{name}={quote(value, safe='')}" for name, value in qualifiers.items() if value)
    return f"pkg:{head}@{release}{'?' if tail else ''}{tail}"
