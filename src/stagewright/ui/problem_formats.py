"""Errors and warnings of a project for programs: JSON, annotations of GitHub's workflows, and SARIF 2.1.0."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from stagewright import __version__
from stagewright.errors import Place, ProblemsError, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.ui.paths import with_short_paths

JSON_FORMAT = 1
"""Version of the JSON of ``stagewright check --json``."""


@dataclass(frozen=True)
class Finding:
    """An error or a warning about a project."""

    level: str  # "error" or "warning"
    reason: str
    message: str
    hint: str = ""
    place: Place | None = None


def findings_of(error: StagewrightError) -> list[Finding]:
    """Return the findings of an error, in the order of their places."""
    problems = error.problems if isinstance(error, ProblemsError) else [error]
    short = [with_short_paths(one) for one in problems]
    return [
        Finding("error", one.reason.value, text.message, text.hint, one.place)
        for one, text in zip(problems, short, strict=True)
    ]


def warning(text: str) -> Finding:
    """Return the finding for a warning, which has no place."""
    return Finding("warning", "note", text)


def as_json(findings: Sequence[Finding]) -> str:
    """Return all findings as one JSON object."""
    data = {
        "format": JSON_FORMAT,
        "ok": not any(finding.level == "error" for finding in findings),
        "findings": [
            {
                "level": finding.level,
                "reason": finding.reason,
                "message": finding.message,
                "hint": finding.hint,
                "place": finding.place and finding.place.to_dict(),
            }
            for finding in findings
        ],
    }
    return json.dumps(data, indent=2)


def as_github(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield each finding as a command of GitHub's workflows, which marks the line in the pull request."""
    for finding in findings:
        where = {"title": f"stagewright {finding.reason}"}
        if finding.place:
            numbers = {"line": finding.place.line, "col": finding.place.column}
            where |= {"file": _relative(finding.place.file)} | {name: str(n) for name, n in numbers.items() if n}
        properties = ",".join(f"{name}={_escaped(value, ':,')}" for name, value in where.items())
        yield f"::{finding.level} {properties}::{_escaped(_text(finding))}"


def as_sarif(findings: Sequence[Finding]) -> str:
    """Return all findings as a SARIF log, which code hosts and editors read (OASIS SARIF 2.1.0)."""
    rules = sorted({finding.reason for finding in findings})
    driver: dict[str, Any] = {"name": "stagewright", "version": __version__, "rules": [{"id": rule} for rule in rules]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, rules) for finding in findings],
    }
    return json.dumps({"version": "2.1.0", "runs": [run]}, indent=2)


def _result(finding: Finding, rules: list[str]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.reason,
        "ruleIndex": rules.index(finding.reason),
        "level": finding.level,
        "message": {"text": _text(finding)},
    }
    if finding.place:
        location: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.place.file)}}
        if finding.place.line:
            column = {"startColumn": finding.place.column} if finding.place.column else {}
            location["region"] = {"startLine": finding.place.line, **column}
        result["locations"] = [{"physicalLocation": location}]
    return result


def _text(finding: Finding) -> str:
    return f"{finding.message}\nhint: {finding.hint}" if finding.hint else finding.message


def _relative(path: Path) -> str:
    """Return a path relative to the checkout if it is in there."""
    return str(path.relative_to(_checkout())) if path.is_relative_to(_checkout()) else str(path)


def _uri(path: Path) -> str:
    """Return a URI (RFC 3986): relative to the checkout if the file is in there, else absolute."""
    base = _checkout()
    whole = Path(os.path.abspath(path)).as_uri()  # noqa: PTH100  links stay
    return whole.removeprefix(f"{base.as_uri()}/") if path.is_relative_to(base) else whole


def _checkout() -> Path:
    """Return the folder to which code hosts relate paths: the one of GitHub's runner, or else the current one."""
    return Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd())


def _escaped(text: str, more: str = "") -> str:
    """Return a text with the escapes of GitHub's workflow commands."""
    for letter in "%\r\n" + more:
        text = text.replace(letter, f"%{ord(letter):02X}")
    return text
