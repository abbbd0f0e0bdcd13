"""Plans as text and as data: the state of each node, and the reason why it is built."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from stagewright.engine.plan import Plan, State, Step
from stagewright.graph.keys import Difference
from stagewright.portage.hit_rate import HitRate


def plan_lines(plan: Plan) -> Iterator[str]:
    """Yield the lines of a plan: one for each node, with further lines if it has several reasons, and a summary."""
    width = max(map(len, plan.steps), default=0)
    for name, step in plan.steps.items():
        first, *more = reasons(step) or [""]
        yield f"{name:<{width}}  {step.state.value:<10}  {first}".rstrip()
        yield from (f"{'':<{width}}  {'':<10}  {line}" for line in more)
    cached = sum(step.state is State.CACHED for step in plan.steps.values())
    yield f"{len(plan.to_build)} to build, {cached} cached"


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


def reasons(step: Step) -> list[str]:
    """Return the reasons why a node is built, a line each; none if it is not built."""
    if step.state is not State.BUILD:
        return []
    if step.first:
        return ["never built"]
    return [difference_text(difference) for difference in step.why] or ["gone from the store"]


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
