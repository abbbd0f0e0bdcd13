"""Verification of the provenance in a release: from its files to the commit and the lock of the project.

Each artifact of a release has an in-toto statement (release/provenance.py). Its subjects must be the files of the
artifact, with the digests in ``SHA256SUMS``, so the signature of that list covers the whole chain.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.project.lock import FILE_NAME as LOCK
from stagewright.release.bill import BILL
from stagewright.release.file_list import FILES
from stagewright.release.provenance import PREDICATE, STATEMENT, SUFFIX
from stagewright.release.release_files import ReleaseFiles, read_small
from stagewright.release.release_folder import Description, ReleasedArtifact

_DOCUMENTS = tuple(f".{suffix}" for suffix in (SUFFIX, BILL, "spdx.json", "cdx.json", FILES))
"""Suffixes of files that a release adds to the folder of an artifact."""


@dataclass(frozen=True)
class Origin:
    """The state of the project that a release was made of.

    ``commit`` and ``url`` are those of its git repository, "" if it has none. ``changed`` is True if files differed
    from the commit. ``lock`` is the SHA-256 of the lock, "" without pins.
    """

    commit: str = ""
    url: str = ""
    changed: bool = False
    lock: str = ""


def verify_provenance(files: ReleaseFiles, description: Description, sums: Mapping[str, str]) -> Origin:
    """Return the state of the project that all artifacts of a release were made of.

    ``files`` were verified to have the digests of ``sums``. Raises every problem at once: DIGEST_MISMATCH if a
    statement is about other files, NOT_FOUND or FORMAT if there is none.
    """
    problems: list[StagewrightError] = []
    found: dict[Origin, str] = {}
    for artifact in description.artifacts:
        name = artifact.provenance
        if name not in description.files:
            problems.append(StagewrightError(Reason.NOT_FOUND, f"{artifact.stage}: no provenance in the release"))
            continue
        try:
            statement = _statement(read_small(files, name, description.files[name]), name)
            problems += _problems(statement, artifact, name, sums)
            found.setdefault(_origin(statement, name), name)
        except StagewrightError as error:
            problems.append(error)
    if len(found) > 1:
        what = f"{', '.join(found.values())}: name different states of the project"
        problems.append(StagewrightError(Reason.DIGEST_MISMATCH, what))
    if problems:
        raise ProblemsError(problems)
    return next(iter(found), Origin())


def _statement(data: bytes, name: str) -> Mapping[str, Any]:
    """Return the content of a statement. Raises: FORMAT for any other text."""
    try:
        statement = json.loads(data)
        assert (statement["_type"], statement["predicateType"]) == (STATEMENT, PREDICATE)
        assert all(isinstance(one["digest"]["sha256"], str) for one in statement["subject"])
        assert isinstance(statement["predicate"]["runDetails"]["metadata"]["invocationId"], str)
    except (ValueError, KeyError, TypeError, AssertionError, RecursionError) as error:
        raise StagewrightError(Reason.FORMAT, f"{name}: not a statement about provenance") from error
    return dict(statement)


def _problems(
    statement: Mapping[str, Any], artifact: ReleasedArtifact, name: str, sums: Mapping[str, str]
) -> Iterator[StagewrightError]:
    """Yield an error if the subjects are not the files of the artifact, or if it is about another build."""
    subjects = {str(one["name"]): one["digest"]["sha256"] for one in statement["subject"]}
    other = sorted(path for path, digest in subjects.items() if sums.get(path) != digest)
    if other:
        yield StagewrightError(Reason.DIGEST_MISMATCH, f"{name}: is about other content ({', '.join(other[:3])})")
    below = f"{artifact.folder}/"
    own = [path for path in sums if path.startswith(below) and not path.endswith(_DOCUMENTS)]
    lacking = sorted(set([artifact.file] if artifact.file else own) - subjects.keys())
    if lacking:
        yield StagewrightError(Reason.DIGEST_MISMATCH, f"{name}: does not name {', '.join(lacking[:3])}")
    if statement["predicate"]["runDetails"]["metadata"]["invocationId"] != artifact.key:
        yield StagewrightError(Reason.DIGEST_MISMATCH, f"{name}: is about another build of {artifact.stage}")


def _origin(statement: Mapping[str, Any], name: str) -> Origin:
    """Return the state of the project that a statement names. Raises: FORMAT if its form is unknown."""
    try:
        parts = {one.get("name"): one for one in statement["predicate"]["buildDefinition"]["resolvedDependencies"]}
        project, lock = parts.get("project", {}), parts.get(LOCK, {})
        return Origin(
            commit=str(project.get("digest", {}).get("gitCommit", "")),
            url=str(project.get("uri", "")).removeprefix("git+").rpartition("@")[0],
            changed=bool(project.get("annotations", {}).get("changed", False)),
            lock=str(lock.get("digest", {}).get("sha256", "")),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise StagewrightError(Reason.FORMAT, f"{name}: not a statement about provenance") from error
