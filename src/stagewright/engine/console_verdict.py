"""The verdict about errors on the console of a test that passed.

A test records the errors on its console as facts. Which of them are permitted depends on settings that are in no key,
and on the date. So the verdict is made each time the result is used: for the targets of a build, and for the tests that
a node needs which is built now. The test does not run again for it.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from stagewright.engine.plan import Plan, State, Step
from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.console_settings import Allowed, ConsoleSettings, OnErrors
from stagewright.kinds.common.guest import GuestFacts
from stagewright.store.store import Store
from stagewright.vm.console_scan import Finding, Scan

_MOST = 5
"""Number of findings in a message."""


@dataclass(frozen=True)
class Verdict:
    """The errors on a console that are not permitted, and what there is to say about the list of permitted ones."""

    errors: tuple[Finding, ...] = ()
    dropped: int = 0
    remarks: list[str] = field(default_factory=list)


def verdict(found: Scan, allow: Sequence[Allowed], today: datetime.date) -> Verdict:
    """Compare findings with the permitted errors. An entry counts through its last day."""
    remarks, active = [], []
    for entry in allow:
        matches = [finding for finding in found.findings if re.search(entry.pattern, finding.text, re.MULTILINE)]
        if not matches:
            remarks.append(f"allow: {entry.pattern!r} matches no error on the console: remove the entry")
        elif entry.until and today > entry.until:
            remarks.append(
                f"allow: {entry.pattern!r} expired on {entry.until} ({entry.reason}): the error counts again"
            )
        else:
            active += matches
    return Verdict(tuple(finding for finding in found.findings if finding not in active), found.dropped, remarks)


def used(plan: Plan) -> Iterator[Step]:
    """Yield the steps whose results a build uses: those of targets, and inputs of nodes that it builds."""
    sources = {source for step in plan.to_build for source in step.node.inputs.values()}
    yield from (step for name, step in plan.steps.items() if name in {*plan.sinks, *sources})


class ConsoleJudge:
    """Makes the verdicts of one build. ``today`` is the date by which entries expire; default: the day in UTC."""

    def __init__(self, store: Store, today: datetime.date | None = None) -> None:
        self._store = store
        self._today = today or this_day()

    def of_cached(self, plan: Plan) -> dict[str, tuple[list[str], StagewrightError | None]]:
        """Return remarks and errors for the results in the store that a build uses, by node id."""
        return {step.node.id: self.judge(step, built=False) for step in used(plan) if step.state is State.CACHED}

    def judge(self, step: Step, *, built: bool = True) -> tuple[list[str], StagewrightError | None]:
        """Return remarks about the console of a test, and its error. Errors are only reported if it was built now."""
        if not isinstance(step.node.settings, ConsoleSettings):
            return [], None
        facts = GuestFacts.of(self._store.meta(step.node.yields, step.key.digest))
        return judge(step.node.settings, facts, self._today, ran_now=built)


def judge(
    settings: ConsoleSettings, facts: GuestFacts, today: datetime.date, *, ran_now: bool = True
) -> tuple[list[str], StagewrightError | None]:
    """Return remarks about the console of a test that passed, and its error."""
    found = verdict(Scan(facts.findings, facts.findings_dropped), settings.allow, today)
    if settings.console is OnErrors.IGNORE:
        return [], None
    if not (found.errors or found.dropped):
        return found.remarks, None
    listed = _listed(found)
    if settings.console is OnErrors.FAIL:
        return found.remarks, _error(found, listed)
    return [*found.remarks, *(listed if ran_now else ())], None


def this_day() -> datetime.date:
    """Return the date by which entries expire: the day in UTC."""
    return datetime.datetime.now(datetime.UTC).date()


def _error(found: Verdict, listed: Iterable[str]) -> StagewrightError:
    count = len(found.errors) + found.dropped
    return StagewrightError(
        Reason.CONSOLE_ERRORS,
        f"the test passed, but its console shows {count} error{'s' if count > 1 else ''} that `allow` does not permit",
        detail="\n".join(f"  {line}" for line in listed),
        hint=f"{found.errors[0].hint}, or permit the error with `allow` in the test" if found.errors else "",
    )


def _listed(found: Verdict) -> list[str]:
    more = len(found.errors) + found.dropped - _MOST
    return [*map(str, found.errors[:_MOST]), *([f"and {more} more"] if more > 0 else [])]
