"""The packages in a release: the decision of its channel, and the documents about them.

For each artifact with a bill of materials, a release has next to its main file::

    <artifact>.spdx.json, <artifact>.cdx.json    the bill as SPDX 2.3 and as CycloneDX 1.6

and for all together ``licenses/`` and, if the release asks for them, ``sources/``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.release import cyclonedx, license_texts, sources, spdx
from stagewright.release.bill import BILL, Bill, bill_of_manifest
from stagewright.release.channel import ChannelRules, check_bill
from stagewright.release.manifest import SUFFIX, read_manifest
from stagewright.release.subject import Subject, subject_of


@dataclass(frozen=True)
class Contents:
    """The contents of one artifact. ``folder`` is its place in the release, "" for the top.

    ``manifest`` is None for an artifact without one, ``bill`` is None if its kind does not write bills.
    """

    stage: str
    folder: str
    bill: Bill | None
    manifest: Mapping[str, Any] | None

    @classmethod
    def of(cls, stage: str, tree: Path, folder: str) -> Contents:
        """Return the contents of an artifact in the store."""
        for path in sorted(tree.glob(f"*.{SUFFIX}")):
            manifest = read_manifest(path)
            bill = bill_of_manifest(manifest, path) if "bill" in manifest else None
            return cls(stage, folder, bill, manifest)
        bill = Bill.read(tree / BILL) if (tree / BILL).is_file() else None
        return cls(stage, folder, bill, None)

    def subject(self, release: Subject) -> Subject:
        """Return the artifact for its documents; one without a manifest has the key and the time of the release."""
        return subject_of(self.manifest) if self.manifest else release


def check_channel(rules: ChannelRules, contents: Iterable[Contents]) -> None:
    """Check that a channel accepts all packages. Raises: LICENCE_REFUSED for each one that it refuses.

    A channel cannot decide on an artifact without a bill, so it refuses that too.
    """
    problems: list[StagewrightError] = []
    for one in contents:
        if one.bill is None:
            message = f"{one.stage}: no bill of materials, so channel {rules.name!r} cannot accept it"
            hint = "remove it from the release, or let its kind write a bill"
            problems.append(StagewrightError(Reason.LICENCE_REFUSED, message, hint=hint))
            continue
        try:
            check_bill(rules, one.bill, one.stage)
        except ProblemsError as refused:
            problems += refused.problems
    if problems:
        raise ProblemsError(problems)


def write_documents(contents: Sequence[Contents], release: Subject, folder: Path) -> list[Path]:
    """Write the bills of all artifacts into the folder of a release. Return the files."""
    written = []
    for one in contents:
        subject = one.subject(release)
        place = folder / one.folder
        if one.bill:
            name = subject.name if one.manifest else one.stage
            written += [place / f"{name}.{spdx.SUFFIX}", place / f"{name}.{cyclonedx.SUFFIX}"]
            spdx.write_spdx(one.bill, subject, written[-2])
            cyclonedx.write_cyclonedx(one.bill, subject, written[-1])
    return written


def write_license_texts(contents: Iterable[Contents], repositories: Iterable[Path], folder: Path) -> list[str]:
    """Copy the texts of all licences into a release. Return the names of those without a text."""
    names = license_texts.license_names(one.bill for one in contents if one.bill)
    return license_texts.copy_license_texts(names, repositories, folder / license_texts.FOLDER) if names else []


def write_sources(
    contents: Iterable[Contents], distfiles: Path, repositories: Mapping[str, Path], folder: Path
) -> list[str]:
    """Collect the sources of all packages in a release. Return what is missing."""
    bills = [one.bill for one in contents if one.bill]
    return sources.collect_sources(bills, distfiles, repositories, folder / sources.FOLDER)
