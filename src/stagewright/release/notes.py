"""``notes.json``: the facts in the notes of a release, for other programs and for the notes of the next release.

::

    format      1
    project, release, version, date
    source      url, commit and changed of the project; null outside of a work tree of git
    previous    version, date and digest (SHA-256 of its notes.json) of the release before; null for the first
    artifacts   stage, kind, name, size in bytes, growth (bytes) since the release before, packages
    seeds       what everything is built from: name, kind, and the archive or image with its digests
    kernels     packages with the kernels
    changes     packages that are added, removed or updated since the release before
    advisories  Gentoo's security advisories (GLSA): fixed since the release before, and open; null if unknown
    boots       tests that started the system: test, what it starts, seconds, milestones
    refusals    tests of what must not start
    differences known differences between two builds, with the reason
    trend       this release and the ones before it, oldest first: version, date, sizes, packages, boots
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from stagewright.errors import Reason, StagewrightError
from stagewright.project.names import NAME
from stagewright.release.bill import Bill, Image
from stagewright.release.package_changes import match_packages

NOTES = "notes.json"

LONGEST_TREND = 200
"""The largest number of releases in a trend. The oldest ones are dropped."""

_LONGEST, _LARGEST = 1000, 1 << 62
_Name = Annotated[str, AfterValidator(lambda text: text[:_LONGEST])]
_Size = Annotated[int, AfterValidator(lambda size: min(max(size, 0), _LARGEST))]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, defer_build=True)


class NotedPackage(_Model):
    """A package of an artifact. ``size`` is that of its installed files in bytes."""

    kind: _Name
    name: _Name
    version: _Name
    slot: _Name = ""
    arch: _Name = ""
    size: _Size = 0


class NotedArtifact(_Model):
    """An artifact. ``name`` is its file, or its folder with a slash. ``packages`` is None if it has no bill."""

    stage: _Name
    kind: _Name
    name: _Name
    size: _Size
    growth: int | None = None
    packages: tuple[NotedPackage, ...] | None = None


class NotedSeed(_Model):
    """A seed, with the facts of its pin and of its archive."""

    name: _Name
    kind: _Name
    facts: Mapping[str, str | int] = {}


class Update(_Model):
    """A package with another version than before."""

    name: _Name
    old: _Name
    new: _Name


class Changes(_Model):
    """The packages that differ from those of the release before, in any artifact."""

    added: tuple[NotedPackage, ...] = ()
    removed: tuple[NotedPackage, ...] = ()
    updated: tuple[Update, ...] = ()


class Advisory(_Model):
    """A security advisory. ``packages`` are those of the release that it is about."""

    id: Annotated[str, Field(pattern=r"^[0-9]{6}-[0-9]{1,3}$")]
    title: _Name = ""
    severity: _Name = ""
    packages: tuple[_Name, ...] = ()


class Advisories(_Model):
    """The advisories about the release before that this one fixes, and those about this release."""

    fixed: tuple[Advisory, ...] = ()
    open: tuple[Advisory, ...] = ()


class BootTime(_Model):
    """The times of a test: seconds until the login prompt, or its end without one; and until other milestones."""

    test: _Name
    starts: _Name = ""
    seconds: float
    milestones: Mapping[str, float] = {}


class Known(_Model):
    """A refusal or a difference that is known, and what is known about it."""

    name: _Name
    text: _Name


class Before(_Model):
    """The release before. ``digest`` is the SHA-256 of its notes."""

    version: Annotated[str, Field(pattern=NAME)]
    date: _Size
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Source(_Model):
    """The commit of the project."""

    url: _Name = ""
    commit: _Name = ""
    changed: bool = False


class TrendEntry(_Model):
    """One release of a trend: bytes and number of packages by artifact, seconds by test."""

    version: _Name
    date: _Size
    sizes: Mapping[str, _Size] = {}
    packages: Mapping[str, int] = {}
    boots: Mapping[str, float] = {}


class Notes(_Model):
    """The content of the file."""

    format: Literal[1] = 1
    project: _Name
    release: _Name
    version: Annotated[str, Field(pattern=NAME)]
    date: _Size
    source: Source | None = None
    previous: Before | None = None
    artifacts: tuple[NotedArtifact, ...] = ()
    seeds: tuple[NotedSeed, ...] = ()
    kernels: tuple[_Name, ...] = ()
    changes: Changes | None = None
    advisories: Advisories | None = None
    boots: tuple[BootTime, ...] = ()
    refusals: tuple[Known, ...] = ()
    differences: tuple[Known, ...] = ()
    trend: Annotated[tuple[TrendEntry, ...], Field(max_length=LONGEST_TREND)] = ()

    @property
    def identity(self) -> str:
        """The name of the release with that of its project."""
        return f"{self.project}/{self.release}"

    def text(self) -> str:
        """Return the content of the file."""
        return self.model_dump_json(indent=1) + "\n"

    @classmethod
    def parse(cls, text: str | bytes, name: str = NOTES) -> Notes:
        """Return notes. Raises: FORMAT for any other text; ``name`` is the file name."""
        try:
            return cls.model_validate_json(text)
        except (ValidationError, RecursionError) as error:
            raise StagewrightError(Reason.FORMAT, f"{name}: not the notes of a release") from error

    def entry(self) -> TrendEntry:
        """Return the entry of this release in a trend."""
        return TrendEntry(
            version=self.version,
            date=self.date,
            sizes={one.stage: one.size for one in self.artifacts},
            packages={one.stage: len(one.packages) for one in self.artifacts if one.packages is not None},
            boots={one.test: one.seconds for one in self.boots},
        )

    def since(self, before: Notes | None, digest: str) -> Notes:
        """Return these notes with the changes and the trend since the release before. ``digest`` is of its notes."""
        trend = (*(before.trend if before else ()), self.entry())[-LONGEST_TREND:]
        if before is None:
            return self.model_copy(update={"trend": trend})
        sizes = {one.stage: one.size for one in before.artifacts}
        artifacts = [
            one.model_copy(update={"growth": one.size - sizes[one.stage] if one.stage in sizes else None})
            for one in self.artifacts
        ]
        update = {
            "previous": Before(version=before.version, date=before.date, digest=digest),
            "artifacts": tuple(artifacts),
            "changes": changes_of(before.packages(), self.packages()),
            "trend": trend,
        }
        return self.model_copy(update=update)

    def packages(self) -> list[NotedPackage]:
        """Return the packages of all artifacts, sorted. If artifacts have several versions, the version lists them."""
        found: dict[tuple[str, ...], dict[str, NotedPackage]] = {}
        for one in (package for artifact in self.artifacts for package in artifact.packages or ()):
            found.setdefault((*_key(one), one.slot), {})[one.version] = one
        joined = []
        for _, versions in sorted(found.items()):
            named = ", ".join(sorted(versions))
            joined.append(next(iter(versions.values())).model_copy(update={"version": named}))
        return joined


def noted_packages(bill: Bill) -> tuple[NotedPackage, ...]:
    """Return the packages of a bill, each once."""
    found = {
        (one.kind, one.name, one.version, one.slot, one.arch): NotedPackage(
            kind=one.kind, name=one.name, version=one.version, slot=one.slot, arch=one.arch, size=one.size
        )
        for one in bill.components
    }
    return tuple(found[key] for key in sorted(found))


def kernels_of(bills: Iterable[Bill]) -> tuple[str, ...]:
    """Return the packages that have kernels, with their versions."""
    found = {f"{one.name} {one.version}" for bill in bills for one in bill.components if Image.KERNEL in one.images}
    return tuple(sorted(found))


def seeds_of(manifests: Iterable[Mapping[str, Any]]) -> tuple[NotedSeed, ...]:
    """Return the seeds that the lineages of manifests have."""
    found: dict[str, NotedSeed] = {}
    for manifest in manifests:
        for entry in manifest["lineage"]:
            known = {**entry.get("pin", {}), **entry.get("archive", {})}
            if known:
                facts = {name: value for name, value in known.items() if isinstance(value, (str, int))}
                name = str(entry["id"]).removeprefix("seed:")
                found[name] = NotedSeed(name=name, kind=entry["kind"], facts=facts)
    return tuple(found[name] for name in sorted(found))


def changes_of(old: Sequence[NotedPackage], new: Sequence[NotedPackage]) -> Changes:
    """Return the packages that are added, removed or updated."""
    pairs = [(before, after) for before, after in match_packages(old, new, _key) if before != after]
    return Changes(
        added=tuple(after for before, after in pairs if after and not before),
        removed=tuple(before for before, after in pairs if before and not after),
        updated=tuple(
            Update(name=after.name, old=before.version, new=after.version)
            for before, after in pairs
            if before and after and before.version != after.version
        ),
    )


def growth_by_package(old: NotedArtifact, new: NotedArtifact) -> list[tuple[int, str]]:
    """Return the growth of each package in bytes with its name and versions, largest first. Packages that did not grow
    are left out.

    The sizes are those of installed files, before compression.
    """
    found = []
    for before, after in match_packages(old.packages or (), new.packages or (), _key):
        growth = (after.size if after else 0) - (before.size if before else 0)
        if after and growth > 0:
            version = f"{before.version} -> {after.version}" if before else f"{after.version}, new"
            found.append((growth, f"{after.name} ({version})"))
    return sorted(found, key=lambda one: (-one[0], one[1]))


def _key(package: NotedPackage) -> tuple[str, str]:
    return f"{package.kind} {package.name} {package.arch}", package.slot.partition("/")[0]
