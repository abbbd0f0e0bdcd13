"""Plans as text and as data: the state of each node, and the reason why it is built."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stagewright.engine.plan import Plan, State, Step
from stagewright.graph.keys import Difference
from stagewright.ui.style import Line, Style, Styled, text_of
from stagewright.ui.text import duration, shown

if TYPE_CHECKING:
    from stagewright.engine.last_failures import LastFailure
    from stagewright.engine.makespan import Makespan
    from stagewright.portage.hit_rate import HitRate

COLOURS = {State.BUILD: Style.YELLOW, State.CACHED: Style.GREEN, State.SKIP: Style.DIM}


def plan_rows(plan: Plan) -> Iterator[Line]:
    """Yield the lines of a plan: one for each node, with further lines if it has several reasons, and a summary."""
    width = max(map(len, plan.steps), default=0)
    for name, step in plan.steps.items():
        first, *more = reasons(step, plan) or [""]
        state = f"{step.state.value:<10}" if first else step.state.value
        yield f"{name:<{width}}  ", Styled(state, COLOURS[step.state]), f"  {first}".rstrip()
        yield from ([f"{'':<{width}}  {'':<10}  {line}"] for line in more)
    cached = sum(step.state is State.CACHED for step in plan.steps.values())
    unused = [name for name, entry in plan.project.entries["seeds"].items() if entry.node_id not in plan.steps]
    if unused and len(plan.targets) == len([entry for entry in plan.project.all_entries() if entry.table != "seeds"]):
        yield [Styled(f"unused: {', '.join(f'seed:{name}' for name in unused)}", Style.DIM)]
    yield [Styled(f"{len(plan.to_build)} to build, {cached} cached", Style.BOLD)]


def plan_lines(plan: Plan) -> Iterator[str]:
    """Yield the lines of a plan without styles."""
    yield from (text_of(line).rstrip() for line in plan_rows(plan))


def plan_data(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON-able data."""
    nodes = [step.to_dict() for step in plan.steps.values()]
    return {"project": plan.project.info.name, "targets": plan.targets, "nodes": nodes}


_MOST_LISTED = 5


def rate_lines(rates: Mapping[str, HitRate]) -> Iterator[str]:
    """Yield the lines for the hit rates of binary package hosts, by node."""
    if not rates:
        yield "nothing to build has a binary package host"
    for name, rate in rates.items():
        figures = f"{rate.hits} of {rate.wanted} packages in the version to install ({rate.percent} %)"
        yield f"{name}: the hosts have {figures}"
        for package, version, host in rate.others[:_MOST_LISTED]:
            yield f"  {package}-{version}: the hosts have {host}"
        if len(rate.others) > _MOST_LISTED:
            yield f"  and {len(rate.others) - _MOST_LISTED} more in other versions"
        if rate.missing:
            shown = ", ".join(rate.missing[:_MOST_LISTED])
            more = f" and {len(rate.missing) - _MOST_LISTED} more" if len(rate.missing) > _MOST_LISTED else ""
            yield f"  not on the hosts: {shown}{more}"


def estimate_lines(estimate: Makespan) -> Iterator[str]:
    """Yield the lines for the expected length of a run."""
    machines = f"{estimate.workers} machine{'s' if estimate.workers > 1 else ''}"
    if estimate.unknown == estimate.nodes:
        yield f"no estimate for {machines}: no node of it was built before" if estimate.nodes else "nothing to build"
        return
    yield f"on {machines}: {duration(estimate.seconds)}, where one alone needs {duration(estimate.work)}"
    yield f"  the longest chain of nodes needs {duration(estimate.longest_way)}"
    if estimate.unknown:
        yield f"  {estimate.unknown} never built before, taken as {duration(estimate.usual)} each"


def reasons(step: Step, plan: Plan, *, keys: bool = False) -> list[str]:
    """Return the reasons why a node is built, a line each; none if it is not built.

    They are in words, or with ``keys`` the entries of its key that differ, with digests.
    """
    if step.state is not State.BUILD:
        return []
    if step.same:
        return [f"not built: the same contents as those of {step.same[:12]} go in"]
    if step.first:
        found = ["not built yet" if step.failure else "never built"]
        if plan.closed_by:
            found = [f"unknown: roots and history of the store are open to {plan.closed_by} alone"]
    elif keys:
        found = [difference_text(difference) for difference in step.why]
    else:
        found = list(dict.fromkeys(_words(one, step, plan) for one in step.why))
    return [*(found or ["gone from the store"]), *(failure_lines(step.failure) if step.failure else ())]


def failure_lines(failure: LastFailure) -> Iterator[str]:
    """Yield the lines about a build that failed: when, why, and where its log is."""
    when = f"{datetime.datetime.fromtimestamp(failure.time).astimezone():%Y-%m-%d %H:%M}"
    if failure.message:
        yield f"the last build failed on {when}: {shown(failure.message)}"
    else:
        yield f"the last build was interrupted on {when}"
    yield f"its log: {failure.log}"


def _words(difference: Difference, step: Step, plan: Plan) -> str:
    """Return an entry of a key that differs in words."""
    table, _, name = difference.entry.partition(".")
    if table == "inputs":
        source = step.node.inputs.get(name)
        if source is None:
            return f"because {name} is gone"
        changes = plan.steps[source].state is State.BUILD
        return f"because {source} {'changes' if changes else 'has changed'}"
    subject = _SUBJECTS.get(table, "").format(name=name)
    if subject and difference.old is None:
        return f"{subject} is new"
    if subject and difference.new is None:
        return f"{subject} is gone"
    if table == "tools":
        return f"{subject} has another version: {difference.old} -> {difference.new}"
    return f"{subject} has changed" if subject else difference_text(difference)


_SUBJECTS = {
    "files": "{name}",
    "repos": "repository {name}",
    "binhost_keys": "keys of binhost {name}",
    "tools": "{name} of this computer",
}
"""Subjects of sentences about the tables of a key whose values are digests or versions."""


def difference_text(difference: Difference) -> str:
    """Return the line for an entry of a key that differs."""
    entry, old, new = difference.entry, difference.old, difference.new
    if old is None:
        return f"{entry}: {_value(new)} is new"
    if new is None:
        return f"{entry}: {_value(old)} is gone"
    if entry == "code":
        return "code: this version of Stagewright builds it differently"
    if isinstance(old, list) and isinstance(new, list) and not _fits_a_line(old + new):
        changes = [f"without {_value(item)}" for item in old if item not in new]
        changes += [f"with {_value(item)}" for item in new if item not in old]
        return f"{entry}: {', '.join(changes) or 'another order'}"
    return f"{entry}: {_value(old)} -> {_value(new)}"


def _fits_a_line(items: list[Any]) -> bool:
    """Return True if lists with these items are shown whole, not as what was added and removed."""
    return len(items) <= 6 and all(isinstance(item, str) for item in items)


_HEXADECIMAL = frozenset("0123456789abcdef")


def _value(value: Any) -> str:
    if isinstance(value, str) and len(value) == 64 and _HEXADECIMAL.issuperset(value):
        return value[:8]
    return json.dumps(value, ensure_ascii=False)
