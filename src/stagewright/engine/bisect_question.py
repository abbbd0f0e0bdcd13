"""The question of a search: what makes a state of the repositories good or bad."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stagewright.engine.build import BuildResult
from stagewright.engine.build_options import BuildOptions
from stagewright.engine.session import Session
from stagewright.errors import Exit, ProblemsError, Reason, StagewrightError
from stagewright.events import Event, NodeFinished, Status
from stagewright.graph.node import Yields
from stagewright.kinds.common.guest import GuestFacts, GuestTest
from stagewright.trees import files_below
from stagewright.units import parse_duration, parse_size

_NETWORK = frozenset(
    {
        *(Reason.FETCH_FAILED, Reason.NOT_FOUND, Reason.FETCH_STALLED, Reason.FETCH_CUT, Reason.WRONG_LENGTH),
        *(Reason.NOT_A_FILE, Reason.BAD_REDIRECT),
    }
)
"""Reasons that say nothing about a state: the search stops, and continues when the network is back."""

_PROJECT = frozenset({Reason.NO_PROJECT, Reason.LOCK_STALE, Reason.USAGE, Reason.SYNTAX})


class Verdict(enum.StrEnum):
    """The answer for one state."""

    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"  # it cannot be built


@dataclass(frozen=True)
class Answer:
    """The verdict for one state, and why, in words."""

    verdict: Verdict
    why: str


class Measure(enum.StrEnum):
    """The property of a target that a question is about."""

    SUCCESS = "success"
    SIZE = "size"
    TIME = "time"


@dataclass(frozen=True)
class Question:
    """A question about a target. ``limit`` is ``700M`` for a size, ``90s`` for a time, empty for success."""

    target: str
    measure: Measure = Measure.SUCCESS
    limit: str = ""

    def answer(self, session: Session, options: BuildOptions) -> Answer:
        """Build the target in one state, and answer. Raises: errors of the computer, the network and the store."""
        try:
            with session.listeners.also(timer := _Timer()):
                result = session.build([self.target], replace(options, locked=True), publisher=lambda _: {})
        except StagewrightError as error:
            _raise_unless_of_the_state(error)
            return Answer(Verdict.SKIP, error.message)
        if result.status is Status.INTERRUPTED:
            result.raise_failures()
        if result.errors:
            return self._of_failures(result)
        if self.measure is Measure.SUCCESS:
            return Answer(Verdict.GOOD, "built")
        return self._measured(session, result, options, timer)

    def _of_failures(self, result: BuildResult) -> Answer:
        for error in result.errors.values():
            _raise_unless_of_the_state(error)
        own = [result.errors[node] for node in result.plan.sinks if node in result.errors]
        if own and self.measure is Measure.SUCCESS:
            return Answer(Verdict.BAD, own[0].message)
        return Answer(Verdict.SKIP, next(iter(result.errors.values())).message)

    def _measured(self, session: Session, result: BuildResult, options: BuildOptions, timer: _Timer) -> Answer:
        (node,) = result.plan.sinks
        if self.measure is Measure.SIZE:
            found, limit, unit = float(_size(session, node, result)), float(parse_size(self.limit)), " bytes"
        else:
            found, limit = self._seconds(session, node, result, options, timer), parse_duration(self.limit)
            unit = " seconds"
        verdict = Verdict.BAD if found > limit else Verdict.GOOD
        return Answer(verdict, f"{found:.0f}{unit}")

    def _seconds(self, session: Session, node: str, result: BuildResult, options: BuildOptions, timer: _Timer) -> float:
        """Return the time of a guest, as its test has measured it, or of the build; a stored result is built again."""
        step = result.plan.steps[node]
        if isinstance(step.node.settings, GuestTest):
            return GuestFacts.of(session.store.meta(step.node.yields, step.key.digest)).seconds
        return timer.seconds.get(node) or session.rebuild(node, options, compare=True).seconds


class _Timer:
    """A listener that notes the time of each build."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, NodeFinished) and event.status is Status.BUILT:
            self.seconds[event.node] = event.seconds


def _size(session: Session, node: str, result: BuildResult) -> int:
    """Return the size of the main file of an artifact, or of all its files; of a root, what its layers add."""
    step = result.plan.steps[node]
    meta = session.store.meta(step.node.yields, step.key.digest)
    if step.node.yields is Yields.LAYER:
        return sum(session.store.meta(Yields.LAYER, key).size for key in meta.stack)
    tree: Path = session.store.tree(step.node.yields, step.key.digest)
    files: Sequence[str] = [str(meta.facts["file"])] if "file" in meta.facts else list(files_below(tree))
    return sum((tree / name).lstat().st_size for name in files)


def _raise_unless_of_the_state(error: StagewrightError) -> None:
    """Raise an error that has another cause than the state of the repositories."""
    for one in error.problems if isinstance(error, ProblemsError) else [error]:
        if one.reason in _NETWORK | _PROJECT or one.reason.exit not in (Exit.FAILED, Exit.INVALID):
            raise error
