"""A run as a short text in Markdown, for the summaries of CI services."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stagewright.engine.recorded_runs import RecordedRun
from stagewright.engine.run_state import run_word
from stagewright.errors import StagewrightError
from stagewright.events import Status
from stagewright.ui.text import duration, printable, size

MOST_FAILURES = 20

SLOWEST = 10
"""Number of nodes in the table of the slowest."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|~@:])")


def markdown(run: RecordedRun) -> str:
    """Return the text. Texts of projects and guests cannot make links, pictures, mentions or HTML in it."""
    return "\n".join(_lines(run)) + "\n"


def _lines(run: RecordedRun) -> Iterator[str]:
    yield f"## {_plain(run.project)}: {run_word(run)}"
    yield ""
    counts = {word: run.count(Status(word)) for word in ("built", "failed", "skipped", "interrupted")}
    shown = [f"{count} {word}" for word, count in counts.items() if count or word == "built"]
    stored = run.cached + run.count(Status.CACHED)
    took = duration(run.last_moment - run.started)
    yield f"{', '.join([*shown, f'{stored} from the store'])}, in {took}"
    failed = [node for node in run.nodes.values() if node.error]
    if failed:
        yield from ("", "| failed | reason |", "|---|---|")
        for node in failed[:MOST_FAILURES]:
            error = StagewrightError.from_dict(node.error or {})
            hint = f" ({_plain(error.hint)})" if error.hint else ""
            yield f"| {_plain(node.node)} | {_plain(error.message)}{hint} |"
        if len(failed) > MOST_FAILURES:
            yield f"| and {len(failed) - MOST_FAILURES} more | |"
    done = sorted((node for node in run.nodes.values() if node.seconds), key=lambda node: -node.seconds)
    if done:
        yield from ("", "| node | state | time | size |", "|---|---|--:|--:|")
        for node in done[:SLOWEST]:
            weight = size(node.size) if node.size else ""
            yield f"| {_plain(node.node)} | {node.status or ''} | {duration(node.seconds)} | {weight} |"
        if len(done) > SLOWEST:
            yield f"| and {len(done) - SLOWEST} shorter ones | | | |"


def _plain(text: str) -> str:
    """Return a text on one line, without a meaning in Markdown or HTML."""
    text = " ".join(printable(text).split())[:500]
    return _SPECIAL.sub(r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
