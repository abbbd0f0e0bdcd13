"""The graph of a release: the result of each spec, its sources, and the specs that make them.

An identity is ``rel_type/target-subarch-version_stamp``, as in Catalyst's folder ``builds``. ``source_subpath`` names
an identity with or without the ending of its file. A source that ends in ``-latest`` is the newest stage of that name.
It is linked to a spec of the same run, unless that spec depends on the one with the source. Then the source is a seed:
the result of an earlier run. The stage1 and stage3 of each variant depend on each other in this way, which is correct.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stagewright.catalyst.auto import Notice
from stagewright.catalyst.catalyst_conf import CatalystConfig, ending
from stagewright.catalyst.release import Member, Release
from stagewright.catalyst.spec_check import exists
from stagewright.catalyst.spec_keys import Target
from stagewright.catalyst.tokens import STAMP
from stagewright.errors import Place, Reason, StagewrightError, nearest
from stagewright.graph.node import Demand, Graph, Node, Yields, circles, cycle_error
from stagewright.run import run

_ENDING = re.compile(r"\.(?:tar(?:\.[a-z0-9]+)?|tbz2|tgz|txz|sfs|sqfs|squashfs)$")
_LATEST = "-latest"
_STAMPED = re.compile(rf"(.+?)-{STAMP.pattern}")
_SIMILAR = 0.8
_SECONDS = 2


@dataclass(frozen=True)
class SpecResult:
    """The result of one spec and its inputs. ``sources`` are identities by role."""

    name: str  # the identity, with the artifact if several specs share the identity
    identity: str
    member: Member
    artifacts: tuple[str, ...]
    package_cache: str
    sources: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)  # names of results of this run by role

    @property
    def seeds(self) -> dict[str, str]:
        """Sources by role that no spec of this run makes."""
        return {role: source for role, source in self.sources.items() if role not in self.inputs}


@dataclass
class ReleaseGraph:
    """The graph of a release: all results in the order in which their specs were read."""

    results: list[SpecResult]

    @functools.cached_property
    def shared_caches(self) -> dict[str, list[str]]:
        """Package caches that several specs fill, with the names of their results."""
        table: dict[str, list[str]] = defaultdict(list)
        for item in self.results:
            if item.package_cache:
                table[item.package_cache].append(item.name)
        return {path: names for path, names in table.items() if len(names) > 1}

    @functools.cached_property
    def shared_identities(self) -> dict[str, list[str]]:
        """Identities that several specs have, with the names of their results.

        These specs use the same folders, so only one of them runs at a time.
        """
        table: dict[str, list[str]] = defaultdict(list)
        for item in self.results:
            table[item.identity].append(item.name)
        return {identity: names for identity, names in table.items() if len(names) > 1}

    def graph(self) -> Graph:
        """Return the graph for drawing: seeds, results, and shared package caches."""
        nodes = {}
        for item in self.results:
            for seed in item.seeds.values():
                nodes[seed] = Node(seed, "seed", Yields.LAYER)
        for item in self.results:
            kind = item.member.target or Target.SNAPSHOT
            inputs = {role: item.inputs.get(role, source) for role, source in item.sources.items()}
            demand = Demand(exclusive=item.identity if item.identity in self.shared_identities else "")
            place = item.member.spec.place("target")
            nodes[item.name] = Node(item.name, kind, Yields.ARTIFACT, inputs=inputs, demand=demand, place=place)
        for path, names in self.shared_caches.items():
            inputs = {f"packages {number}": name for number, name in enumerate(names, start=1)}
            nodes[path] = Node(path, "package cache", Yields.ARTIFACT, inputs=inputs)
        return Graph.of(nodes.values())


def make_graph(release: Release) -> ReleaseGraph:
    """Return the graph of a release. Errors are added to the release. Specs without a full identity are skipped."""
    snapshots = {_snapshot(member, release.config) for member in release.members if member.target is Target.SNAPSHOT}
    results = [item for member in release.members if (item := _result_of(member, release, snapshots))]
    results = _with_unique_names(results, release)
    makers: dict[str, list[SpecResult]] = defaultdict(list)
    for item in results:
        makers[item.identity].append(item)
    linked = {item.name: replace(item, inputs=_exact(item, makers)) for item in results}
    _break_circles(linked, release)
    _link_latest(linked, makers)
    for item in linked.values():
        _check_seeds(item, linked, list(makers), release)
    return ReleaseGraph(list(linked.values()))


def identity_of(member: Member, config: CatalystConfig) -> str:
    """Return the identity of a spec's result. Empty if a part is missing."""
    spec = member.spec
    if member.target is Target.SNAPSHOT:
        return _snapshot(member, config)
    parts = [spec.text(key) for key in ("rel_type", "target", "subarch", "version_stamp")]
    return f"{parts[0]}/{'-'.join(parts[1:])}" if all(parts) and member.target else ""


def _snapshot(member: Member, config: CatalystConfig) -> str:
    treeish = member.spec.text("snapshot_treeish")
    return f"snapshots/{config.repo_name}-{treeish}" if treeish else ""


def source_identity(path: str, config: CatalystConfig) -> str:
    """Return the identity that a path names. The path may include the ``builds`` folder and the file's ending."""
    path = path.removeprefix(f"{config.builds}/").strip("/")
    return _ENDING.sub("", path)


def _result_of(member: Member, release: Release, snapshots: set[str]) -> SpecResult | None:
    identity = identity_of(member, release.config)
    if not identity:
        return None
    spec, config = member.spec, release.config
    sources = {}
    if source := spec.text("source_subpath"):
        sources["source"] = source_identity(source, config)
    if member.target is Target.LIVECD3 and (medium := spec.text("livecd/cdtar")):
        sources["medium"] = source_identity(medium, config)
    snapshot = _snapshot(member, config)
    if snapshot in snapshots and member.target is not Target.SNAPSHOT:  # otherwise `catalyst -s` makes the snapshot
        sources["snapshot"] = snapshot
    cache = package_cache(member, config)
    return SpecResult(identity, identity, member, _artifacts(member, identity, release), cache, sources)


def _artifacts(member: Member, identity: str, release: Release) -> tuple[str, ...]:
    """Return the paths of the published files: below ``builds``, below ``snapshots``, or absolute."""
    spec, config = member.spec, release.config
    named = {Target.LIVECD2: "livecd/iso", Target.LIVECD3: "livecd/iso", Target.DISKIMAGE2: "diskimage/qcow2"}
    if member.target in named:
        name = spec.text(named[member.target])
        return (name if name.startswith("/") else f"{spec.text('rel_type')}/{name}",) if name else ()
    if member.target is Target.NETBOOT:
        return (f"{identity}/",)
    if member.target is Target.SNAPSHOT:
        return (f"{identity}.sqfs",)
    tail = ending(spec.text("compression_mode") or config.compression_mode) or "tar"
    script = spec.text("rename_regexp")
    return (_renamed(f"{identity}.{tail}", script, spec.place("rename_regexp"), release),)


def _renamed(name: str, script: str, place: Place, release: Release) -> str:
    """Return the name of a result after ``rename_regexp``. As in Catalyst, sed gets the whole path."""
    if not script:
        return name
    top = f"{release.config.builds}/"
    words = ["sed", "-E", "--sandbox", f"--expression={script}".replace("\0", "\\x00")]
    try:
        text = run(words, stdin=f"{top}{name}".encode(), timeout=_SECONDS).stdout.rstrip("\n")
        detail = "" if text and "\n" not in text else f"{top}{name} becomes {text!r}"
    except StagewrightError as error:
        if error.reason is not Reason.COMMAND_FAILED:
            raise
        detail = error.message
    if detail:
        message = f"rename_regexp: sed returns no valid name for {script!r}"
        hint = "write a script for sed -E, like s_.tar.xz$_.wsl_"
        problem = StagewrightError(Reason.INVALID_VALUE, message, place=place, hint=hint, detail=detail)
        release.problems.append(problem)
        return name
    return text.removeprefix(top)


def package_cache(member: Member, config: CatalystConfig) -> str:
    """Return the folder of binary packages. Default: one folder for all stamps of a target and sub-architecture."""
    spec = member.spec
    if member.target is Target.SNAPSHOT:
        return ""
    default = f"packages/{spec.text('rel_type')}/{spec.text('target')}-{spec.text('subarch')}"
    return spec.text("pkgcache_path").removeprefix(f"{config.storedir.rstrip('/')}/") or default


def _with_unique_names(results: list[SpecResult], release: Release) -> list[SpecResult]:
    """Give specs that share an identity different names. Two specs that write the same file are an error."""
    counts = Counter(item.identity for item in results)
    first: dict[str, SpecResult] = {}
    writers: dict[str, SpecResult] = {}
    result: list[SpecResult] = []
    for item in results:
        if counts[item.identity] > 1:
            spec = item.member.spec
            files = ", ".join(Path(file).name for file in item.artifacts) or str(spec.file)
            if any(other.name == f"{item.identity} [{files}]" for other in result):
                files = str(spec.file)
            item = replace(item, name=f"{item.identity} [{files}]")  # noqa: PLW2901
            other = first.setdefault(item.identity, item)
            clash = next((writers[file] for file in item.artifacts or (item.identity,) if file in writers), None)
            if clash:
                message = f"{item.identity} is also made by {clash.member.spec.file}"
                hint = "change version_stamp or rel_type of one of them"
                error = StagewrightError(Reason.DUPLICATE_NAME, message, place=spec.place("version_stamp"), hint=hint)
                twin = spec.file.parent == clash.member.spec.file.parent  # a mistake; else two trees are looked at
                (release.problems if twin else release.clashes).append(error)
            elif other is not item:
                text = f"{item.identity} is also the identity of {other.member.spec.file}: they never run together"
                release.notices.append(Notice(spec.place("version_stamp"), text))
        for file in item.artifacts or (item.identity,):
            writers.setdefault(file, item)
        result.append(item)
    return result


def _exact(item: SpecResult, makers: Mapping[str, list[SpecResult]]) -> dict[str, str]:
    """Return the sources by role that a spec of this run makes."""
    return {role: _maker(item, makers[source]).name for role, source in item.sources.items() if source in makers}


def _maker(item: SpecResult, makers: Sequence[SpecResult]) -> SpecResult:
    """Return the spec that makes a source. Of several trees it is the one with most folders in common."""
    own = item.member.spec.file.parts

    def common(other: SpecResult) -> int:
        pairs = zip(own, other.member.spec.file.parts, strict=False)
        return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))

    return max(makers, key=common)


def _break_circles(linked: dict[str, SpecResult], release: Release) -> None:
    """Report specs that depend on each other in a cycle, and remove their inputs."""
    for way in list(circles({name: set(item.inputs.values()) for name, item in linked.items()})):
        item = linked[way[0]]
        release.problems.append(cycle_error(way, item.member.spec.place("source_subpath")))
        for name in way:
            linked[name] = replace(linked[name], inputs={})


def _link_latest(linked: dict[str, SpecResult], makers: Mapping[str, list[SpecResult]]) -> None:
    """Link each ``-latest`` source to the spec of this run that makes it, unless that spec depends on this one."""
    stamped: dict[str, list[str]] = defaultdict(list)
    for identity in sorted(makers, reverse=True):
        if found := _STAMPED.fullmatch(identity):
            stamped[f"{found[1]}{_LATEST}"].append(identity)
    for name, item in linked.items():
        for role, source in item.seeds.items():
            for identity in stamped.get(source, []):
                maker = _maker(item, makers[identity]).name
                if name not in _ancestors(maker, linked):
                    linked[name] = replace(item, inputs={**linked[name].inputs, role: maker})
                    break


def _ancestors(name: str, linked: Mapping[str, SpecResult]) -> set[str]:
    """Return a spec and all specs that it depends on."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting.extend(linked[one].inputs.values())
    return found


def _check_seeds(item: SpecResult, linked: Mapping[str, SpecResult], identities: list[str], release: Release) -> None:
    """Report sources that no spec makes. An error if the release is complete, or if another identity is similar.

    Results that are built on this one are not suggested: the source would depend on itself.
    """
    for role, source in item.seeds.items():
        key = "livecd/cdtar" if role == "medium" else "source_subpath"
        entry = item.member.spec.entries[key]
        if source.endswith(_LATEST) or source in identities or _stored(source, entry.text, release.config):
            continue  # not linked because the spec that makes it depends on this one
        close = _similar_identity(source, identities)
        if close:
            built_on_it = {one.identity for one in linked.values() if item.name in _ancestors(one.name, linked)}
            close = _similar_identity(source, [identity for identity in identities if identity not in built_on_it])
        message = f"{key}: no spec makes {source}"
        if close or release.complete:
            hint = nearest(source, [close]) if close else "add its spec to a set, or correct the name"
            place = entry.word_place()
            release.problems.append(StagewrightError(Reason.UNKNOWN_NAME, message, place=place, hint=hint))
        else:
            release.notices.append(Notice(entry.word_place(), f"{message}; it must be in {release.config.builds}"))


def _stored(source: str, written: str, config: CatalystConfig) -> bool:
    """Return True if a source is already in the storedir."""
    builds = Path(config.builds)
    if exists(builds / written):
        return True
    try:
        return any(_ENDING.sub("", file.name) == Path(source).name for file in (builds / source).parent.iterdir())
    except (OSError, ValueError):
        return False


def _similar_identity(source: str, identities: list[str]) -> str:
    """Return an identity that differs from a source by a likely typo in its stamp or rel_type. Empty if none does."""

    def parts(text: str) -> tuple[str, str]:
        folder, _, name = text.rpartition("/")
        return folder, STAMP.sub("", name)

    folder, name = parts(source)
    for identity in identities:
        if not _same_head(source, identity):
            continue
        its_folder, its_name = parts(identity)
        if (folder == its_folder) == (name == its_name):
            continue
        pair = (folder, its_folder) if name == its_name else (name, its_name)
        if difflib.SequenceMatcher(None, *pair).ratio() >= _SIMILAR:
            return identity
    return ""


def _same_head(one: str, other: str) -> bool:
    """Return True if two identities seem to have the same target and sub-architecture."""
    heads: Iterator[str] = (text.rpartition("/")[2] for text in (one, other))
    first, second = (head.split("-") for head in heads)
    count = 3 if first[0] in ("livecd", "diskimage") else 2
    return first[:count] == second[:count]
