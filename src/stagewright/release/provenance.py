"""``<artifact>.provenance.json``: where an artifact comes from, as an in-toto statement with a SLSA v1 predicate.

The statement names all files of the artifact, the commit of the project, the lock, all seeds with digests and signers,
all repositories, the version of Stagewright and the keys of all nodes. See in-toto.io/Statement/v1 and
slsa.dev/provenance/v1. Digests have the names of in-toto, and one of Stagewright::

    stagewrightTree    graph/file_digest.py: the digest of a file with its mode, or of the list of all files of a folder

A seed that is made of packages has a pin in place of an archive. ``content`` is this pin as JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import stagewright
from stagewright.graph.given import Given, NotInKey
from stagewright.project.lock import FILE_NAME as LOCK
from stagewright.project.model import Project
from stagewright.release.artifact_digests import FileDigests
from stagewright.release.project_source import ProjectSource, project_source, public_address

SUFFIX = "provenance.json"

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://stagewright.invalid/build/v1"
"""The type of the build: a project of format 1, and the name of a stage. The address has no page."""
BUILDER = "https://stagewright.invalid/builder/v1"

_DIGESTS = {"git-tree": "gitTree", "git": "gitTree"}
_TREE = "stagewrightTree"


class Origins(Given):
    """Where the parts of a project come from, for provenance.

    ``lock`` is the SHA-256 of the lock file, if it has pins, and ``lock_text`` its pins. ``signers``, ``commits`` and
    ``urls`` are by the names of seeds and repositories. ``version`` is that of the Stagewright that makes the release.
    """

    source: ProjectSource | None = None
    lock: str = ""
    lock_text: Annotated[str, NotInKey()] = ""
    signers: dict[str, str] = {}
    commits: dict[str, str] = {}
    urls: dict[str, str] = {}
    version: Annotated[str, NotInKey()] = stagewright.__version__


def origins_of(project: Project, files: Collection[Path]) -> Origins:
    """Return where the parts of a project come from. ``files`` are the files and folders that the build reads."""
    pins = {**project.lock.seeds, **project.lock.repos}
    lock = project.lock.file if pins else None
    return Origins(
        source=project_source(project.folder, files),
        lock=hashlib.sha256(lock.read_bytes()).hexdigest() if lock and lock.is_file() else "",
        lock_text=lock_text(project),
        signers={name: str(pin["signer"]) for name, pin in sorted(pins.items()) if pin.get("signer")},
        commits={name: str(pin["commit"]) for name, pin in sorted(project.lock.repos.items()) if pin.get("commit")},
        urls={name: public_address(repo.git) for name, repo in sorted(project.repos.items()) if repo.git},
    )


def lock_text(project: Project) -> str:
    """Return the content of a lock file with the pins and the time stamp of a project.

    A first build writes the file only after the graph was made, and the project can have another time stamp.
    """
    return replace(project.lock, epoch=project.epoch).text()


@dataclass(frozen=True)
class Making:
    """How an artifact was made: its stage, its key, the digest of the code, and all nodes that it depends on.

    ``project`` is the entry of manifests, ``lineage`` has entries as in manifests, inputs first.
    """

    project: Mapping[str, Any]
    stage: str
    key: str
    code: str
    lineage: Sequence[Mapping[str, Any]]


def write_provenance(making: Making, files: Sequence[FileDigests], origins: Origins, path: Path) -> None:
    """Write the statement about an artifact. ``files`` are its files, by their paths in the release."""
    text = json.dumps(statement_of(making, files, origins), indent=1, ensure_ascii=False, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def statement_of(making: Making, files: Sequence[FileDigests], origins: Origins) -> dict[str, Any]:
    """Return the statement about an artifact with these files."""
    return {
        "_type": STATEMENT,
        "subject": [_subject(file) for file in sorted(files, key=lambda file: file.file)],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "project": dict(making.project),
                    "stage": making.stage,
                    "source": origins.source.model_dump() if origins.source else None,
                },
                "internalParameters": {
                    "keys": {entry["id"]: entry["key"] for entry in making.lineage},
                    "code": making.code,
                },
                "resolvedDependencies": list(_dependencies(making.lineage, origins)),
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"stagewright": origins.version}},
                "metadata": {"invocationId": making.key},
            },
        },
    }


def _subject(file: FileDigests) -> dict[str, Any]:
    return {"name": file.file, "digest": {name: file.digests[name] for name in ("sha256", "sha512")}}


def _dependencies(lineage: Sequence[Mapping[str, Any]], origins: Origins) -> Iterator[dict[str, Any]]:
    """Yield the project, its lock, seeds, repositories and files: each once."""
    if source := origins.source:
        place = {"uri": f"git+{source.url}@{source.commit}"} if source.url else {}
        annotations = {"annotations": {"changed": True}} if source.changed else {}
        yield {"name": "project", **place, "digest": {"gitCommit": source.commit}, **annotations}
    if origins.lock:
        yield {"name": LOCK, "digest": {"sha256": origins.lock}}
    seen: set[tuple[str, str]] = set()
    for entry in lineage:
        if entry.get("pin") or entry.get("archive"):
            yield _seed(entry, origins)
        for table in ("repositories", "files"):
            for name, digest in entry.get(table, {}).items():
                if (name, digest) not in seen:
                    seen.add((name, digest))
                    yield _tree(name, digest, origins) if table == "repositories" else _file(name, digest)


def _seed(entry: Mapping[str, Any], origins: Origins) -> dict[str, Any]:
    """Return a seed with the digests of its archive, or with its pin: a bootstrapped seed has a list of packages."""
    known = {**(entry.get("pin") or {}), **(entry.get("archive") or {})}
    digests = {name: known.pop(name) for name in ("sha256", "sha512", "blake2b") if name in known}
    signer = origins.signers.get(entry["id"].removeprefix("seed:"))
    more: dict[str, Any] = {"digest": digests}
    if not digests:
        pin = json.dumps(known, sort_keys=True, separators=(",", ":")).encode()
        known = {name: value for name, value in known.items() if isinstance(value, str)}
        more = {
            "content": base64.b64encode(pin).decode(),
            "mediaType": "application/json",
            "digest": {"sha256": hashlib.sha256(pin).hexdigest()},
        }
    facts = {"kind": entry["kind"], "key": entry["key"], **known, **({"signer": signer} if signer else {})}
    return {"name": entry["id"], **more, "annotations": facts}


def _tree(name: str, digest: str, origins: Origins) -> dict[str, Any]:
    commit, url = origins.commits.get(name), origins.urls.get(name)
    digests = {**_digest(digest), **({"gitCommit": commit} if commit else {})}
    place = {"uri": f"git+{url}@{commit}"} if url and commit else {}
    signer = origins.signers.get(name)
    annotations = {"annotations": {"signer": signer}} if signer else {}
    return {"name": f"repository {name}", **place, "digest": digests, **annotations}


def _file(name: str, digest: str) -> dict[str, Any]:
    return {"name": name, "digest": _digest(digest)}


def _digest(digest: str) -> dict[str, str]:
    """Return a digest of a key as a DigestSet: a git tree, or a digest as in ``graph/file_digest.py``."""
    kind, _, value = digest.rpartition(":")
    return {_DIGESTS.get(kind, _TREE): value}
