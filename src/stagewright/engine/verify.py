"""Verification of results in the store: by command, and before a build uses them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from stagewright.engine.closed_layers import examine_inside, is_closed
from stagewright.engine.plan import Plan, State
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Listener, NodeNotice, NodeProgress
from stagewright.graph.node import Yields
from stagewright.store import integrity
from stagewright.store.digest_cache import DigestCache
from stagewright.store.in_use import in_use
from stagewright.store.integrity import Finding, Moved
from stagewright.store.store import Store

SHOWN = 5
"""Number of differences of one result that a notice names."""


@dataclass(frozen=True)
class Verification:
    """The findings about results that were examined, and about those that were made from damaged ones.

    ``moved`` says which of them were set aside, and which stay because another process uses them.
    """

    findings: tuple[Finding, ...]
    moved: Moved = field(default_factory=Moved)

    @property
    def set_aside(self) -> int:
        """The number of results that were set aside."""
        return len(self.moved.moved)

    @property
    def bad(self) -> list[Finding]:
        """The results that are damaged or suspect."""
        bad = (integrity.State.DAMAGED, integrity.State.SUSPECT)
        return [finding for finding in self.findings if finding.state in bad]


def verify(store: Store, keys: Iterable[str] | None, emit: Listener, *, keep: bool = False) -> Verification:
    """Examine results and set damaged ones aside, unless they are to be kept. No keys means all results."""
    return _set_aside(store, _examined(store, integrity.results(store, keys), emit), emit, keep=keep)


def _examined(store: Store, chosen: list[tuple[Yields, str]], emit: Listener) -> list[Finding]:
    findings: list[Finding] = []
    with in_use(store, [key for _, key in chosen]):  # a collection would look like damage
        present = [(yields, key) for yields, key in chosen if store.is_complete(yields, key)]

        def report(finding: Finding) -> None:
            findings.append(finding)
            name = f"{finding.node}, {finding.state}"
            emit(NodeProgress(node="verify", done=len(findings), total=len(present), name=name))

        closed = [key for yields, key in present if yields is Yields.LAYER and is_closed(store, key)]
        for yields, key in present:
            if key not in closed:
                report(integrity.examine(store, yields, key))
        if closed:
            examine_inside(store, closed, report)
    return findings


def _set_aside(store: Store, findings: list[Finding], emit: Listener, *, keep: bool = False) -> Verification:
    damaged = [finding for finding in findings if finding.state is integrity.State.DAMAGED]
    if not damaged:
        return Verification(tuple(findings))
    known = {finding.key: finding for finding in findings}
    bad = {finding.key: finding for finding in integrity.with_suspects(store, damaged)}
    moved = Moved() if keep else integrity.set_aside(store, bad.values(), lambda text: _report(emit, text))
    return Verification(tuple({**known, **bad}.values()), moved)


def _report(emit: Listener, text: str) -> None:
    emit(NodeNotice(node="store", text=text))


class PlanCheck:
    """The check of the results that a build uses or publishes.

    ``thorough`` reads all cached results of a plan, each once. Otherwise artifacts are read if their times changed
    since they were last read, and of layers only a part is looked at (:func:`integrity.glance`).
    """

    def __init__(self, store: Store, emit: Listener, *, thorough: bool) -> None:
        self._store = store
        self._emit = emit
        self._thorough = thorough
        self._whole: set[str] = set()

    def finds_damage(self, plan: Plan) -> bool:
        """Return True if results of a plan were damaged. They were set aside, and a new plan builds them again.

        Raises: DAMAGED if one of them stays because another process uses it.
        """
        checked = self._check(plan)
        for finding in checked.bad:
            for damage in finding.damages[:SHOWN]:
                _report(self._emit, f"{finding.node}: {damage}")
        if staying := [one for one in checked.moved.staying if one.state is integrity.State.DAMAGED]:
            names = ", ".join(sorted(finding.node for finding in staying))
            what = f"{names}: damaged, and in use by another process"
            hint = "end that process (a build, or stagewright shell), then run the same command again"
            raise StagewrightError(Reason.DAMAGED, what, hint=hint)
        return bool(checked.bad)

    def _check(self, plan: Plan) -> Verification:
        keys = _cached(plan) if self._thorough else _used(plan)
        chosen = integrity.results(self._store, integrity.with_layers(self._store, keys))
        chosen = [(yields, key) for yields, key in chosen if key not in self._whole]
        if self._thorough:
            found = _examined(self._store, chosen, self._emit)
            self._whole |= {finding.key for finding in found if finding.state is not integrity.State.DAMAGED}
        else:
            found = self._glances(chosen)
        return _set_aside(self._store, found, self._emit)

    def _glances(self, chosen: list[tuple[Yields, str]]) -> list[Finding]:
        with in_use(self._store, [key for _, key in chosen]), DigestCache(self._store.cache("digests.db")) as digest:
            present = [(yields, key) for yields, key in chosen if self._store.has(yields, key)]
            found = [integrity.glance(self._store, yields, key, digest) for yields, key in present]
        return [finding for finding in found if finding]


def _cached(plan: Plan) -> set[str]:
    return {step.key.digest for step in plan.steps.values() if step.state is State.CACHED}


def _used(plan: Plan) -> set[str]:
    """Return the keys of cached results that are published or that nodes to build take."""
    names = {source for step in plan.to_build for source in step.node.inputs.values()}
    names |= {name for name in plan.sinks if plan.steps[name].node.yields is Yields.ARTIFACT}
    return {plan.steps[name].key.digest for name in names} & _cached(plan)
