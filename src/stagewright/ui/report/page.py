"""The page: the run, its details and drawings in one HTML file.

The page loads nothing: a Content-Security-Policy allows only its own style, its own script and embedded pictures, by
their digests (https://www.w3.org/TR/CSP3/). All texts of projects, logs and guests are escaped.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import importlib.resources
from collections.abc import Mapping

from stagewright.engine.recorded_runs import NodeRun, RecordedRun
from stagewright.errors import StagewrightError
from stagewright.events import Status
from stagewright.ui.report.details import Details
from stagewright.ui.report.layers import picture
from stagewright.ui.report.timeline import critical_path, timeline
from stagewright.ui.text import duration, printable, size

_WORDS = {
    Status.BUILT: "built",
    Status.CACHED: "built by another run",
    Status.FAILED: "failed",
    Status.SKIPPED: "skipped",
    Status.INTERRUPTED: "stopped",
}


def page(run: RecordedRun, details: Mapping[str, Details]) -> str:
    """Return the page of a run as HTML."""
    import jinja2  # noqa: PLC0415  slow to import

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    environment.filters.update(duration=duration, size=size, moment=_moment, plain=printable)
    environment.globals.update(word=_word, error=StagewrightError.from_dict, delta=_delta)
    style, script = _part("report.css"), _part("report.js")
    return environment.get_template("report.html").render(
        run=run,
        state=_state(run),
        details=details,
        timeline=timeline(run),
        critical=critical_path(run),
        graph=picture(run.inputs or dict.fromkeys(run.nodes, ())),
        style=style,
        script=script,
        policy=f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'",
    )


def _part(name: str) -> str:
    return (importlib.resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Return the source expression for an inline style or script (CSP 3, section 2.3.1)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


def _state(run: RecordedRun) -> str:
    if run.status:
        return str(run.status)
    return "running" if run.is_running else "killed"


def _word(node: NodeRun | None, run: RecordedRun) -> str:
    """Return the state of a node in one or two words; a node that the run does not build is cached."""
    if node is None:
        return "cached"
    if node.status:
        return _WORDS[node.status]
    if node.started is None:
        return "waiting" if run.is_running else "not started"
    return "running" if run.is_running else "killed"


def _moment(seconds: float) -> str:
    """Return a time in UTC, to the second."""
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _delta(new: int, old: int | None) -> str:
    """Return the change of a size: ``+1.2 MiB``, ``-3 KiB``, ``=``; empty without an old one."""
    if old is None:
        return ""
    if new == old:
        return "="
    return f"{'+' if new > old else '-'}{size(abs(new - old))}"
