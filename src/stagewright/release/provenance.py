"""``<artifact>.provenance.json``: where an artifact comes from, as an in-toto statement with a SLSA v1 predicate.

The statement names the commit of the project, the lock, all seeds with digests and signers, all repositories, the
version of Stagewright and the keys of all nodes. See in-toto.io/Statement/v1 and slsa.dev/provenance/v1.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import stagewright
from stagewright.errors import StagewrightError
from stagewright.graph.given import Given
from stagewright.project.lock import FILE_NAME as LOCK
from stagewright.project.model import Project
from stagewright.run import run

SUFFIX = "provenance.json"

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://stagewright.invalid/build/v1"
"""The type of the build: a project of format 1, and the name of a stage. The address has no page."""

_DIGESTS = {"git-tree": "gitTree", "git": "gitTree"}
_NO_HOME = {"HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"}
"""For git as another user, who cannot read the settings of this one."""
_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}


class ProjectSource(Given):
    """The git commit of a project. ``changed`` is True if files differ from the commit, or are not in it."""

    url: str
    commit: str
    changed: bool


class Origins(Given):
    """Where the parts of a project come from, for provenance.

    ``lock`` is the SHA-256 of the lock file, if it has pins. ``signers``, ``commits`` and ``urls`` are by the names of
    seeds and repositories.
    """

    source: ProjectSource | None = None
    lock: str = ""
    signers: dict[str, str] = {}
    commits: dict[str, str] = {}
    urls: dict[str, str] = {}


def origins_of(project: Project) -> Origins:
    """Return where the parts of a project come from."""
    pins = {**project.lock.seeds, **project.lock.repos}
    lock = project.lock.file if pins else None
    return Origins(
        source=project_source(project.folder),
        lock=hashlib.sha256(lock.read_bytes()).hexdigest() if lock and lock.is_file() else "",
        signers={name: str(pin["signer"]) for name, pin in sorted(pins.items()) if pin.get("signer")},
        commits={name: str(pin["commit"]) for name, pin in sorted(project.lock.repos.items()) if pin.get("commit")},
        urls={name: public_address(repo.git) for name, repo in sorted(project.repos.items()) if repo.git},
    )


def project_source(folder: Path) -> ProjectSource | None:
    """Return the commit of the project in a folder, or None if it is not in a work tree of the folder's owner.

    A repository can name programs that git starts. So git runs as the owner of the repository, and not as root.
    """
    owner = _owner_of_repository(folder)
    if owner is None:
        return None
    git = _Git(folder, owner)
    try:
        commit = git("rev-parse", "--verify", "HEAD^{commit}")
        changes = git("status", "--porcelain", "--", ".", ":(exclude)out")
        url = git("config", "--get", "remote.origin.url", check=False)
    except StagewrightError:
        return None
    return ProjectSource(url=public_address(url), commit=commit, changed=bool(changes))


def _owner_of_repository(folder: Path) -> os.stat_result | None:
    """Return the owner of the work tree that a folder is in. None if there is none, or this user cannot act for it."""
    folder = folder.resolve()
    owner = folder.stat()
    for above in (folder, *folder.parents):
        try:
            found = (above / ".git").lstat()
        except OSError:
            continue
        allowed = os.geteuid() in (found.st_uid, 0)
        return found if allowed and found.st_uid == owner.st_uid else None
    return None


@dataclass(frozen=True)
class _Git:
    """git(1) in a folder, as the owner of its repository."""

    folder: Path
    owner: os.stat_result

    def __call__(self, *words: str, check: bool = True) -> str:
        command, environment = ["git", "-c", "core.fsmonitor=false", *words], _ENVIRONMENT
        if self.owner.st_uid != os.geteuid():
            ids = ["--reuid", str(self.owner.st_uid), "--regid", str(self.owner.st_gid), "--clear-groups"]
            command, environment = ["setpriv", *ids, "--", *command], {**_ENVIRONMENT, **_NO_HOME}
        return run(command, cwd=self.folder, env=environment, check=check).stdout.strip()


def public_address(url: str) -> str:
    """Return an address without user, password and query, which can hold secrets; empty for a path of this computer."""
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        known = re.fullmatch(r"(?:[^@/]+@)?([A-Za-z0-9.-]+):(?!/)(.+)", url)  # host:path, as scp(1) has it
        return f"ssh://{known[1]}/{known[2]}" if known else ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def write_provenance(manifest: Mapping[str, Any], origins: Origins, path: Path) -> None:
    """Write the statement about the artifact of a manifest."""
    text = json.dumps(statement_of(manifest, origins), indent=1, ensure_ascii=False, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def statement_of(manifest: Mapping[str, Any], origins: Origins) -> dict[str, Any]:
    """Return the statement about the artifact of a manifest."""
    artifact = manifest["artifact"]
    digests = {name: value for name, value in artifact["digests"].items() if name in ("sha256", "sha512")}
    return {
        "_type": STATEMENT,
        "subject": [{"name": artifact["file"], "digest": digests}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "project": dict(manifest["project"]),
                    "stage": manifest["stage"],
                    "source": origins.source.model_dump() if origins.source else None,
                },
                "internalParameters": {"keys": {entry["id"]: entry["key"] for entry in manifest["lineage"]}},
                "resolvedDependencies": list(_dependencies(manifest, origins)),
            },
            "runDetails": {
                "builder": {
                    "id": "https://stagewright.invalid/builder/v1",
                    "version": {"stagewright": stagewright.__version__},
                },
                "metadata": {"invocationId": manifest["key"]},
            },
        },
    }


def _dependencies(manifest: Mapping[str, Any], origins: Origins) -> Iterator[dict[str, Any]]:
    """Yield the project, its lock, seeds, repositories and files: each once."""
    if source := origins.source:
        place = {"uri": f"git+{source.url}@{source.commit}"} if source.url else {}
        annotations = {"annotations": {"changed": True}} if source.changed else {}
        yield {"name": "project", **place, "digest": {"gitCommit": source.commit}, **annotations}
    if origins.lock:
        yield {"name": LOCK, "digest": {"sha256": origins.lock}}
    seen: set[tuple[str, str]] = set()
    for entry in manifest["lineage"]:
        if entry.get("pin") or entry.get("archive"):
            yield _seed(entry, origins)
        for table in ("repositories", "files"):
            for name, digest in entry.get(table, {}).items():
                if (name, digest) not in seen:
                    seen.add((name, digest))
                    yield _tree(name, digest, origins) if table == "repositories" else _file(name, digest)


def _seed(entry: Mapping[str, Any], origins: Origins) -> dict[str, Any]:
    """Return a seed, with the digests of its archive, and its pin: a bootstrapped seed has a list of packages."""
    known = {**entry.get("pin", {}), **entry.get("archive", {})}
    digests = {name: known.pop(name) for name in ("sha256", "sha512", "blake2b") if name in known}
    signer = origins.signers.get(entry["id"].removeprefix("seed:"))
    facts = {"kind": entry["kind"], "key": entry["key"], **known, **({"signer": signer} if signer else {})}
    return {"name": entry["id"], **({"digest": digests} if digests else {}), "annotations": facts}


def _tree(name: str, digest: str, origins: Origins) -> dict[str, Any]:
    kind, _, value = digest.rpartition(":")
    commit, url = origins.commits.get(name), origins.urls.get(name)
    digests = {_DIGESTS.get(kind, kind or "sha256"): value, **({"gitCommit": commit} if commit else {})}
    place = {"uri": f"git+{url}@{commit}"} if url and commit else {}
    signer = origins.signers.get(name)
    annotations = {"annotations": {"signer": signer}} if signer else {}
    return {"name": f"repository {name}", **place, "digest": digests, **annotations}


def _file(name: str, digest: str) -> dict[str, Any]:
    kind, _, value = digest.rpartition(":")
    return {"name": name, "digest": {kind or "sha256": value}}
