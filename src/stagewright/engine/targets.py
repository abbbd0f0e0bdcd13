"""The words with which users name targets: names of entries, ids of nodes, and patterns."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping

from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.graph.node import Graph
from stagewright.project.model import Project

_SPECIAL = frozenset("*?[")


def names_of(words: Iterable[str], known: Mapping[str, str], what: str) -> list[str]:
    """Return the names that words stand for, each once: a name, a node id as ``seed:debian``, or a pattern.

    ``known`` has the id of the node of each name. ``what`` describes the names, as in "a test of this project".
    Raises: UNKNOWN_NAME if a word stands for nothing.
    """
    ids = {node: name for name, node in known.items()}
    found: dict[str, None] = {}
    for word in words:
        if word in known:
            matches = [word]
        elif word in ids:
            matches = [ids[word]]
        elif _SPECIAL.intersection(word):
            matches = [name for name, node in known.items() if _fits(word, name, node)]
        else:
            matches = []
        if not matches:
            raise StagewrightError(
                Reason.UNKNOWN_NAME, f"{word!r} is not {what}", hint=nearest(word, known) or "there is none"
            )
        found.update(dict.fromkeys(matches))
    return list(found)


def name_of(word: str, known: Mapping[str, str], what: str) -> str:
    """Return the one name that a word stands for. Raises: UNKNOWN_NAME, or USAGE if a pattern fits several."""
    names = names_of([word], known, what)
    if len(names) > 1:
        raise StagewrightError(Reason.USAGE, f"{word!r} fits {', '.join(names[:5])}", hint="name one of them")
    return names[0]


def target_ids(project: Project, graph: Graph) -> dict[str, str]:
    """Return the names of all targets of a project, each with the id of its node."""
    return {**{name: name for name in graph.targets}, **{entry.name: entry.node_id for entry in project.all_entries()}}


def _fits(pattern: str, name: str, node: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(node, pattern)
