"""Estimate the length of a release if all specs take equally long: levels, longest path, makespan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stagewright.catalyst.release_graph import ReleaseGraph


@dataclass(frozen=True)
class Estimate:
    """An estimate in steps of one spec each.

    ``with_turns`` runs specs with the same identity one after the other, ``with_caches`` also those that share a
    package cache.
    """

    specs: int
    levels: tuple[int, ...]
    critical_path: int
    jobs: int
    makespan: int
    with_turns: int
    with_caches: int


def estimate(graph: ReleaseGraph, jobs: int) -> Estimate:
    """Return the estimate for ``jobs`` specs at a time. 0 sets no limit."""
    inputs = {item.name: set(item.inputs.values()) for item in graph.results}
    turns = list(graph.shared_identities.values())
    depth = _depths(inputs)
    counts = Counter(depth.values())
    return Estimate(
        len(inputs),
        tuple(counts[level] for level in sorted(counts)),
        max(depth.values(), default=0),
        jobs,
        makespan(inputs, jobs),
        makespan(inputs, jobs, turns),
        makespan(inputs, jobs, [*turns, *graph.shared_caches.values()]),
    )


def _depths(inputs: Mapping[str, set[str]]) -> dict[str, int]:
    depth: dict[str, int] = {}
    waiting = list(inputs)
    while waiting:
        name = waiting[-1]
        missing = [source for source in inputs[name] if source not in depth]
        if missing:
            waiting += missing
            continue
        depth[name] = 1 + max((depth[source] for source in inputs[name]), default=0)
        waiting.pop()
    return depth


def makespan(inputs: Mapping[str, set[str]], jobs: int, turns: Iterable[Iterable[str]] = ()) -> int:
    """Return the number of steps until all specs are done, if those with the longest path ahead start first.

    Of each group in ``turns`` only one spec runs at a time. ``jobs`` of 0 sets no limit.
    """
    users = _users(inputs)
    height = _depths(users)
    groups: dict[str, set[int]] = {name: set() for name in inputs}
    for number, group in enumerate(turns):
        for name in group:
            groups[name].add(number)
    left = {name: len(sources) for name, sources in inputs.items()}
    ready = {name for name, count in left.items() if not count}
    steps = 0
    while ready:
        steps += 1
        started = _started(sorted(ready, key=lambda name: (-height[name], name)), jobs, groups)
        ready -= started
        for user in (user for name in started for user in users[name]):
            left[user] -= 1
            if not left[user]:
                ready.add(user)
    return steps


def _users(inputs: Mapping[str, set[str]]) -> dict[str, set[str]]:
    users: dict[str, set[str]] = {name: set() for name in inputs}
    for name, sources in inputs.items():
        for source in sources:
            users[source].add(name)
    return users


def _started(names: Iterable[str], jobs: int, groups: Mapping[str, set[int]]) -> set[str]:
    """Return the names that run in one step. Names at the start are preferred."""
    taken: set[int] = set()
    started: set[str] = set()
    for name in names:
        if (not jobs or len(started) < jobs) and taken.isdisjoint(groups[name]):
            started.add(name)
            taken |= groups[name]
    return started
