"""The bill of materials of an artifact: its packages, in which of its images each is, why, and files without owner.

A release has it as ``<artifact>.bill.json``::

    format       1
    components   packages, by kind, name and version: see Component
    unowned      files that belong to no package: image, origin, number of files, and their paths
    notices      what the bill lacks, in words

A bill depends only on the inputs of its artifact. It is made by nodes of the kind ``bill`` (kinds/releases/bill.py).
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from stagewright.errors import Reason, StagewrightError
from stagewright.portage.ebuild_facts import SourceFile

BILL = "bill.json"
"""The name of a bill, or the end of its name."""

MOST_PATHS = 2000
"""The largest number of paths without owner that a bill names, for each image and origin."""


class Image(enum.StrEnum):
    """A part of an artifact."""

    ROOT = "root"
    KERNEL = "kernel"
    MODULES = "modules"
    INITRAMFS = "initramfs"
    MICROCODE = "microcode"
    FIRMWARE = "firmware"
    LOADER = "loader"
    PACKAGES = "packages"  # binary packages of a package host


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)


class Component(_Model):
    """One package.

    ``kind`` is ``ebuild`` or ``deb``. ``name`` is category/package, or the name of a package of Debian.
    ``license``, ``restrict`` and ``properties`` are evaluated by the USE flags that the package was built with.
    ``tree`` identifies the content of the repository: a git tree, or a digest of the files.
    ``merged`` is False for packages that another builder has built, such as those of a stage3: their sources are
    unknown. ``why`` says for each image why the package is there. ``files`` and ``size`` (bytes) are those of the whole
    package.
    """

    kind: Literal["ebuild", "deb"]
    name: str
    version: str
    images: tuple[Image, ...] = ()
    why: Mapping[str, str] = {}
    license: str = ""
    slot: str = ""
    arch: str = ""
    repository: str = ""
    tree: str = ""
    use: tuple[str, ...] = ()
    restrict: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    description: str = ""
    homepage: str = ""
    source: str = ""  # name and version of the source package, in Debian
    section: str = ""  # the part of the archive, in Debian
    copyrights: tuple[str, ...] = ()  # short names of licences in the copyright file, in Debian
    sources: tuple[SourceFile, ...] = ()
    merged: bool = False
    files: int = 0
    size: int = 0

    @property
    def identity(self) -> tuple[str, ...]:
        """The values by which two entries are the same package, built in the same way."""
        built = (self.license, " ".join(self.use), " ".join(self.restrict))
        return self.kind, self.name, self.version, self.slot, self.arch, self.repository, *built

    def __str__(self) -> str:
        return f"{self.name}-{self.version}" if self.kind == "ebuild" else f"{self.name} {self.version} (Debian)"


class Unowned(_Model):
    """Files of an image that belong to no package. ``paths`` can be incomplete.

    ``origin`` is the id of the node that made them, ``maker`` says more. ``is_generated`` is True for links, caches and
    configuration that programs write: they contain nothing that a licence could apply to.
    """

    image: Image
    origin: str
    count: int
    paths: tuple[str, ...] = ()
    maker: str = ""
    is_generated: bool = False

    @property
    def place(self) -> tuple[str, ...]:
        """The values by which two entries are about the same files of two bills."""
        return self.image, self.origin, self.maker, str(self.is_generated)


class Bill(_Model):
    """The bill of materials of an artifact."""

    format: Literal[1] = 1
    components: tuple[Component, ...] = ()
    unowned: tuple[Unowned, ...] = ()
    notices: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the bill as JSON-able data, without empty values."""
        return self.model_dump(mode="json", exclude_defaults=True) | {"format": self.format}

    def write(self, path: Path) -> None:
        """Write the bill to a file."""
        path.write_text(json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Bill:
        """Return the bill in a file. Raises: FORMAT if it is not one."""
        return _validated(json.loads(path.read_text(encoding="utf-8")), path)


def joined(bills: Iterable[Bill]) -> Bill:
    """Return one bill of several. A package that is in several of them has one entry for each way it was built."""
    known: dict[tuple[str, ...], Component] = {}
    unowned: dict[tuple[str, ...], Unowned] = {}
    notices: dict[str, None] = {}
    for bill in bills:
        for component in bill.components:
            before = known.get(component.identity)
            known[component.identity] = _both(before, component) if before else component
        for files in bill.unowned:
            before_files = unowned.get(files.place)
            unowned[files.place] = _more(before_files, files) if before_files else files
        notices.update(dict.fromkeys(bill.notices))
    return Bill(
        components=tuple(known[identity] for identity in sorted(known)),
        unowned=tuple(unowned[place] for place in sorted(unowned)),
        notices=tuple(notices),
    )


def _more(one: Unowned, other: Unowned) -> Unowned:
    """Return the entry of both, for example of two kernels. Equal entries are one: the same image in two bills."""
    if one == other:
        return one
    paths = tuple(dict.fromkeys((*one.paths, *other.paths)))
    return one.model_copy(update={"count": one.count + other.count, "paths": paths})


def _both(one: Component, other: Component) -> Component:
    """Return the entry of a package in the images of two entries. The entry with sources has the facts."""
    facts = other if other.merged and not one.merged else one
    order = list(Image)
    images = tuple(sorted({*one.images, *other.images}, key=order.index))
    return facts.model_copy(update={"images": images, "why": {**other.why, **one.why}})


def _validated(data: Any, path: Path) -> Bill:
    try:
        return Bill.model_validate(data)
    except ValidationError as error:
        raise StagewrightError(Reason.FORMAT, f"{path}: not a bill of materials") from error
