"""Verification of results in the store: by command, and before a build uses them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stagewright.engine.plan import Plan, State
from stagewright.events import Listener, NodeNotice, NodeProgress
from stagewright.graph.node import Yields
from stagewright.store import integrity
from stagewright.store.digest_cache import DigestCache
from stagewright.store.integrity import Finding
from stagewright.store.store import Store

SHOWN = 5
"""Number of differences of one result that a notice names."""


@dataclass(frozen=True)
class Verification:
    """The findings about results that were examined, and about those that were made from damaged ones."""

    findings: tuple[Finding, ...]
    set_aside: int = 0

    @property
    def bad(self) -> list[Finding]:
        """The results that are damaged or suspect."""
        bad = (integrity.State.DAMAGED, integrity.State.SUSPECT)
        return [finding for finding in self.findings if finding.state in bad]


def verify(store: Store, keys: Iterable[str] | None, emit: Listener, *, keep: bool = False) -> Verification:
    """Examine results and set damaged ones aside, unless they are to be kept. No keys means all results."""
    chosen = integrity.results(store, keys)
    findings = []
    for done, (yields, key) in enumerate(chosen, 1):
        finding = integrity.examine(store, yields, key)
        emit(NodeProgress(node="verify", done=done, total=len(chosen), name=f"{finding.node}, {finding.state}"))
        findings.append(finding)
    return _set_aside(store, findings, emit, keep=keep)


def _set_aside(store: Store, findings: list[Finding], emit: Listener, *, keep: bool = False) -> Verification:
    damaged = [finding for finding in findings if finding.state is integrity.State.DAMAGED]
    if not damaged:
        return Verification(tuple(findings))
    known = {finding.key: finding for finding in findings}
    bad = {finding.key: finding for finding in integrity.with_suspects(store, damaged)}
    moved = 0 if keep else integrity.set_aside(store, bad.values(), lambda text: _report(emit, text))
    return Verification(tuple({**known, **bad}.values()), moved)


def _report(emit: Listener, text: str) -> None:
    emit(NodeNotice(node="store", text=text))


def set_aside_damaged(store: Store, plan: Plan, emit: Listener, *, thorough: bool) -> bool:
    """Check the results that a build of a plan uses or publishes. Return True if any was set aside.

    ``thorough`` reads all cached results of the plan. Otherwise artifacts are read if their times changed since they
    were last read, and of layers only the top folder is looked at (:func:`integrity.glance`).
    """
    if thorough:
        cached = [step.key.digest for step in plan.steps.values() if step.state is State.CACHED]
        checked = verify(store, _with_layers(store, cached), emit)
    else:
        with DigestCache(store.cache("digests.db")) as digest:
            found = [integrity.glance(store, yields, key, digest) for yields, key in _used(store, plan)]
        checked = _set_aside(store, [finding for finding in found if finding], emit)
    for finding in checked.bad:
        for damage in finding.damages[:SHOWN]:
            _report(emit, f"{finding.node}: {damage}")
    return bool(checked.set_aside)


def _used(store: Store, plan: Plan) -> Iterator[tuple[Yields, str]]:
    """Yield the cached results that are published or that nodes to build take, with the layers below these."""
    needed = {source for step in plan.to_build for source in step.node.inputs.values()}
    keys = [plan.steps[name].key.digest for name in needed if plan.steps[name].state is State.CACHED]
    artifacts = [
        plan.steps[name].key.digest
        for name in plan.sinks
        if plan.steps[name].state is State.CACHED and plan.steps[name].node.yields is Yields.ARTIFACT
    ]
    yield from integrity.results(store, [*_with_layers(store, keys), *artifacts])


def _with_layers(store: Store, keys: Iterable[str]) -> list[str]:
    return sorted(integrity.with_layers(store, set(keys)))
