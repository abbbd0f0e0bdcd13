"""The packages in a release: the decision of its channel, and the documents about them.

For each artifact with a bill of materials, a release has next to its main file::

    <artifact>.bill.json                         the bill (release/bill.py)
    <artifact>.spdx.json, <artifact>.cdx.json    the bill as SPDX 2.3 and as CycloneDX 1.6
    <artifact>.files.gz                          if the release asks for it: all files (release/file_list.py)

and for all together ``licenses/`` and, if the release asks for them, ``sources/``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.release import cyclonedx, license_texts, sources, spdx
from stagewright.release.bill import BILL, Bill
from stagewright.release.channel import ChannelRules, check_bill
from stagewright.release.file_list import FILES, join_file_lists
from stagewright.release.manifest import SUFFIX, read_manifest
from stagewright.release.subject import Subject, subject_of


@dataclass(frozen=True)
class Contents:
    """The contents of one artifact. ``folder`` is its place in the release, "" for the top.

    ``manifest`` is None for an artifact without one, ``bill`` is None if its kind does not say what it contains.
    """

    stage: str
    folder: str
    bill: Bill | None
    manifest: Mapping[str, Any] | None

    @classmethod
    def of(cls, stage: str, tree: Path, folder: str, bill: Bill | None) -> Contents:
        """Return the contents of an artifact in the store."""
        manifest = next((read_manifest(path) for path in sorted(tree.glob(f"*.{SUFFIX}"))), None)
        return cls(stage, folder, bill, manifest)

    def document(self, release: Subject, suffix: str, folder: Path) -> Path:
        """Return the path of a document about the artifact in the folder of a release."""
        name = self.subject(release).name if self.manifest else self.stage
        return folder / self.folder / f"{name}.{suffix}"

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
            hint = "remove it from the release, or let its kind name its ingredients"
            problems.append(StagewrightError(Reason.LICENCE_REFUSED, message, hint=hint))
            continue
        try:
            check_bill(rules, one.bill, one.stage)
        except ProblemsError as refused:
            problems += refused.problems
    if problems:
        raise ProblemsError(problems)


def write_documents(contents: Sequence[Contents], release: Subject, folder: Path) -> list[Path]:
    """Write the bills of all artifacts into the folder of a release, after the licences. Return the files."""
    written = []
    names = license_texts.license_names(one.bill for one in contents if one.bill)
    texts = license_texts.license_texts(names, folder / license_texts.FOLDER)
    for one in contents:
        subject = one.subject(release)
        if one.bill:
            written += [one.document(release, suffix, folder) for suffix in (BILL, spdx.SUFFIX, cyclonedx.SUFFIX)]
            one.bill.write(written[-3])
            spdx.write_spdx(one.bill, subject, written[-2], texts)
            cyclonedx.write_cyclonedx(one.bill, subject, written[-1])
    return written


def write_file_lists(
    contents: Iterable[Contents], lists: Iterable[Sequence[Path]], release: Subject, folder: Path
) -> list[Path]:
    """Write the lists of the files of all artifacts with a bill into the folder of a release. Return the files.

    ``lists`` are those of each artifact, which are joined.
    """
    found = {one.document(release, FILES, folder): some for one, some in zip(contents, lists, strict=True) if one.bill}
    for path, some in found.items():
        join_file_lists(some, path)
    return list(found)


def write_license_texts(
    contents: Iterable[Contents], repositories: Iterable[Path], copyrights: Iterable[Path], folder: Path
) -> Iterator[str]:
    """Copy the texts of all licences into a release. Yield what is missing.

    ``copyrights`` are folders with the copyright files of packages of Debian.
    """
    bills = [one.bill for one in contents if one.bill]
    target = folder / license_texts.FOLDER
    names = license_texts.license_names(bills)
    if names and (missing := license_texts.copy_license_texts(names, repositories, target)):
        yield f"licences without a text in the repositories: {', '.join(missing)}"
    if missing := license_texts.copy_copyright_files(bills, copyrights, target / license_texts.DEBIAN):
        yield f"packages of Debian without a copyright file: {', '.join(missing)}"


def write_sources(
    contents: Iterable[Contents], places: sources.SourcePlaces, folder: Path, elsewhere: Sequence[str]
) -> None:
    """Collect the sources of all packages in a release, except those that users get elsewhere."""
    bills = [one.bill for one in contents if one.bill]
    sources.collect_sources(bills, places, folder / sources.FOLDER, elsewhere)
