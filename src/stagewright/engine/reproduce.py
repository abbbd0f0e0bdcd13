"""Building an artifact again from its manifest alone, in a separate store, and comparing both builds.

::

    <store>/reproduce/project/          the project, as its commit has it
    <store>/reproduce/stagewright.lock  the pins of the manifest
    <store>/reproduce/differing/        copies of files that differ, inside of artifacts
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import stagewright
from stagewright.engine.build_options import BuildOptions
from stagewright.engine.plan import Plan
from stagewright.engine.session import Session
from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.events import Listener, NodeNotice
from stagewright.portage.installed import packages_from_data
from stagewright.project.lock import FILE_NAME, Lock
from stagewright.project.overrides import Override
from stagewright.project.unreproducible import Unreproducible
from stagewright.release.artifact_digests import companion, digest_artifact
from stagewright.release.manifest import SUFFIX, read_manifest
from stagewright.release.origin import Origin, origin_of
from stagewright.release.package_changes import package_changes
from stagewright.release.provenance import SUFFIX as PROVENANCE
from stagewright.repos.git import GitRemote
from stagewright.repos.repository_cache import RepositoryCache
from stagewright.reproduce.differences import FileDifference, file_differences
from stagewright.reproduce.explained import Difference, explained
from stagewright.store.store import Store
from stagewright.temporary import temporary_folder
from stagewright.trees import files_below, remove_tree

FOLDER = "reproduce"
"""Folder in a store that :func:`own_store` has made."""

_DERIVED = (f".{SUFFIX}", ".DIGESTS", ".sha256", ".CONTENTS.gz")
"""Ends of the names of files that follow from others. They are not compared."""

_ADDRESS = re.compile(r"(https?|ssh|git|file)://[^\s-][^\s]*")


@dataclass(frozen=True)
class Original:
    """An artifact to build again: its manifest, and the folder with its files, which can lack them."""

    manifest: Path
    data: Mapping[str, Any]
    origin: Origin

    @property
    def name(self) -> str:
        """The name of the main file."""
        return str(self.data["artifact"]["file"])

    @classmethod
    def read(cls, manifest: Path) -> Original:
        """Read a manifest. Raises: FORMAT if it is not one, or has no origin."""
        data = read_manifest(manifest)
        return cls(manifest, data, origin_of(data, manifest))


@dataclass(frozen=True)
class Reproduction:
    """How the second build of an artifact compares with the first one.

    ``keys`` are those of both builds. ``nodes`` are the ids of nodes whose keys differ, ``tools`` the versions of
    programs that differ, by name. ``compared`` are the names of compared files, ``absent`` those that the original
    lacks. ``packages`` has packages in other versions.
    """

    artifact: str
    keys: tuple[str, str]
    builders: tuple[str, str]
    nodes: tuple[str, ...] = ()
    tools: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    compared: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    packages: tuple[Mapping[str, Any], ...] = ()
    differences: tuple[Difference, ...] = ()

    @property
    def is_equal(self) -> bool:
        """True if all compared bytes are equal."""
        return not self.differences

    @property
    def unexplained(self) -> list[Difference]:
        """The differences that nothing explains."""
        return [one for one in self.differences if one.counts]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON-able data."""
        return {
            **asdict(self),
            "equal": self.is_equal,
            "unexplained": len(self.unexplained),
            "differences": [one.to_dict() for one in self.differences],
        }


@dataclass(frozen=True)
class Sources:
    """Where the project comes from, if not from the address in the manifest: a folder, or a git repository."""

    project: Path | None = None
    git: str = ""


def find_originals(path: Path) -> list[Original]:
    """Return the artifacts that a path means: a manifest, an artifact next to it, its provenance, or a whole folder.

    Raises: MISSING_FILE if there is no manifest, FORMAT if it has no origin.
    """
    if path.is_dir():
        manifests = sorted(path.rglob(f"*.{SUFFIX}"))
    else:
        artifact = path.with_name(path.name.removesuffix(f".{PROVENANCE}"))
        manifests = [path if path.name.endswith(f".{SUFFIX}") else companion(artifact, SUFFIX)]
    if not manifests or not manifests[0].is_file():
        what = f"{manifests[0] if manifests else path}: manifest not found"
        raise StagewrightError(Reason.MISSING_FILE, what, hint="name an artifact with its manifest in the same folder")
    return [Original.read(manifest) for manifest in manifests]


@contextlib.contextmanager
def own_store(folder: Path | None, *, keep: bool) -> Iterator[Path]:
    """Yield the folder of a store for second builds: a new one, removed at the end, or the one that is named.

    Raises: USAGE if the named store has results of other builds: they would be compared with themselves.
    """
    if folder:
        if folder.exists() and any(folder.iterdir()) and not (folder / FOLDER).is_dir():
            what = f"{folder}: not a store of `stagewright reproduce`: its results would be compared with themselves"
            raise StagewrightError(Reason.USAGE, what, hint="name an empty folder, or leave out --store")
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with contextlib.ExitStack() as stack:
        parent = Path("/var/tmp")
        if keep:
            made = Path(tempfile.mkdtemp(prefix="stagewright-reproduced-", dir=parent))
        else:
            made = stack.enter_context(temporary_folder("reproduce", parent))
        made.chmod(0o755)  # builds have other ids
        (made / FOLDER).mkdir()
        yield made


def reproduce(
    original: Original, store: Path, sources: Sources, options: BuildOptions, listeners: Sequence[Listener] = ()
) -> Reproduction:
    """Build an artifact again in a store, and compare it.

    Raises: UNKNOWN_SOURCE if the files of the project are unknown, and what a build raises.
    """
    work = store / FOLDER
    for name in ("project", "differing"):
        remove_tree(work / name)
    folder = _project(original, work, store, sources)
    given = {name: Override(value, "the manifest") for name, value in original.origin.given.items()}
    session = Session.open(folder, store=store, listeners=listeners, lock=_lock(original, work), given=given)
    target = original.origin.target
    if target not in session.graph.targets:
        what = f"{target!r} is not a stage of the project in {folder}"
        raise StagewrightError(Reason.UNKNOWN_NAME, what, hint=nearest(target, session.graph.targets))
    plan = session.prepare([target], locked=True)
    inputs = _inputs(original, plan)
    for text in _notices(original, inputs):
        session.listeners(NodeNotice(node=target, text=text))
    alone = replace(options, locked=True, pull=False, push=False)  # else a remote would return the original
    result = session.build([target], alone, publisher=lambda _: {})
    result.raise_failures()
    return _compared(original, result.plan, session.store, inputs, session.project.unreproducible)


def _project(original: Original, work: Path, store: Path, sources: Sources) -> Path:
    """Return the folder of the project: the one that is given, or a new one with the files of the commit."""
    if sources.project:
        return sources.project
    source, name = original.origin.source, original.name
    hint = "name a folder with the files that it was built from: --project FOLDER"
    if source is None:
        what = f"{name}: its project was not in a git repository, so its files are unknown"
        raise StagewrightError(Reason.UNKNOWN_SOURCE, what, hint=hint)
    if source.changed:
        what = f"{name}: its project had changes that were not committed (commit {source.commit[:12]})"
        raise StagewrightError(Reason.UNKNOWN_SOURCE, what, hint=hint)
    address = sources.git or source.url
    if not address:
        what = f"{name}: the git repository of its project has no address that others can use"
        raise StagewrightError(Reason.UNKNOWN_SOURCE, what, hint=f"name it: --git ADDRESS; {hint}")
    if "://" not in address:
        address = f"file://{Path(address).absolute()}"
    if not _ADDRESS.fullmatch(address):
        raise StagewrightError(Reason.INVALID_VALUE, f"{address}: not the address of a git repository", hint=hint)
    remote = GitRemote(address, RepositoryCache.of(store))
    target = work / "project"
    target.mkdir()
    remote.write_files(remote.fetch(source.commit), target)
    return target / source.folder


def _lock(original: Original, work: Path) -> Path:
    """Write the pins of the manifest, and return the file."""
    file = work / FILE_NAME
    text = original.origin.lock or Lock(file, original.data["project"]["source_date_epoch"]).text()
    file.write_text(text, encoding="utf-8")
    return file


@dataclass(frozen=True)
class _Inputs:
    """Differences before the build: nodes by their keys, and versions of programs."""

    nodes: tuple[str, ...]
    tools: Mapping[str, tuple[str, str]]


def _inputs(original: Original, plan: Plan) -> _Inputs:
    keys = plan.keys()
    before = {entry["id"]: entry["key"] for entry in original.data.get("lineage", ())}
    found: dict[str, str] = {}
    for step in plan.steps.values():
        found |= {name: str(version) for name, version in step.key.data.get("tools", {}).items()}
    known = original.origin.tools
    tools = {name: (known[name], found[name]) for name in sorted(known) if found.get(name, known[name]) != known[name]}
    return _Inputs(tuple(sorted(node for node, key in before.items() if keys.get(node) != key)), tools)


def _notices(original: Original, inputs: _Inputs) -> Iterator[str]:
    """Yield what differs before the build, in sentences."""
    builder = original.origin.builder
    if builder != stagewright.__version__:
        yield f"built by Stagewright {builder}, and now by {stagewright.__version__}: the bytes can differ"
    elif inputs.nodes and not inputs.tools:
        yield f"other inputs or code of Stagewright for {', '.join(inputs.nodes)}: the bytes can differ"
    for name, (old, new) in inputs.tools.items():
        yield f"built with {name} {old}, and now with {new}: the bytes can differ"
    file = original.manifest.parent / original.name
    if file.is_file() and digest_artifact(file).digests["sha512"] != original.data["artifact"]["digests"]["sha512"]:
        yield f"{file} is not the file that its manifest describes"


def _compared(
    original: Original, plan: Plan, store: Store, inputs: _Inputs, known: Mapping[str, Unreproducible]
) -> Reproduction:
    """Compare the files of both builds."""
    (node,) = plan.sinks
    step = plan.steps[node]
    tree = store.tree(step.node.yields, step.key.digest)
    work = store.path / FOLDER
    found: list[FileDifference] = []
    compared, absent = [], []
    for name in sorted(files_below(tree)):
        if name.endswith(_DERIVED):
            continue
        if (original.manifest.parent / name).is_file():
            found += file_differences(name, original.manifest.parent / name, tree / name, work)
        elif name == original.name:
            found += _by_digest(original, tree / name)
        else:
            absent.append(name)
            continue
        compared.append(name)
    again = read_manifest(companion(tree / original.name, SUFFIX))
    changes = package_changes(*(packages_from_data(one["packages"]) for one in (original.data, again)))
    return Reproduction(
        original.name,
        (original.data["key"], step.key.digest),
        (original.origin.builder, stagewright.__version__),
        inputs.nodes,
        inputs.tools,
        tuple(compared),
        tuple(absent),
        tuple(change.to_dict() for change in changes),
        tuple(explained(found, _results(plan, store, node), known)),
    )


def _by_digest(original: Original, again: Path) -> list[FileDifference]:
    """Compare a file that the original lacks by the digest in its manifest."""
    if digest_artifact(again).digests["sha512"] == original.data["artifact"]["digests"]["sha512"]:
        return []
    detail = f"by its digest; {original.name} is not next to its manifest, so its content is unknown"
    return [FileDifference((original.name,), "", ("content",), detail)]


def _results(plan: Plan, store: Store, target: str) -> list[tuple[str, Path]]:
    """Return the trees of all nodes that the artifact was made from, in the order of the build."""
    return [
        (node, store.tree(step.node.yields, step.key.digest))
        for node, step in plan.steps.items()
        if node != target and store.has(step.node.yields, step.key.digest)
    ]
