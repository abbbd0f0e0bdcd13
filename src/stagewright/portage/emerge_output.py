"""A parser of the output of emerge(1): progress, and the causes of failures.

It knows the lines of Portage 3.0.83. ``tests/data/emerge`` has samples of real runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass

_STEP = re.compile(
    r"^>>> (?P<what>Emerging binary|Emerging|Fetching|Installing|Completed) "
    r"\((?P<done>\d+) of (?P<total>\d+)\) (?P<package>\S+?)(?:::\S+)?(?: (?:to|for) \S+)?\s*$"
)
_LISTED = re.compile(r"^\[(?P<what>ebuild|binary)\s[^\]]*\] (?P<package>[^\s:]+)(?:::(?P<repo>\S+))?")
_QUESTION = "Would you like to merge these packages?"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FAILED = re.compile(r"^ \* ERROR: (?P<package>\S+?)(?:::\S+)? failed \((?P<phase>\w+) phase\)")
_FAILED_JOB = re.compile(r"^>>> Failed to (?P<what>emerge|install|fetch) (?P<package>[^\s,]+)")
_FETCH = re.compile(r"^!!! Couldn't download '(?P<file>[^']+)'|^!!! Fetch failed for '(?P<package>[^']+)'")
_MISMATCH = re.compile(r"^!!! (?:Previously fetched|Fetched) file: '?(?P<file>[^' ]+)")
_TAMPERED = re.compile(r"^!!! /var/cache/binhost/(?P<host>[^/]+)/(?P<file>\S+?)(?:\.partial)?$")
_BINHOST = re.compile(r"^!!! \[(?P<host>[^\]]+)\] (?P<said>.*\S)")
_DIED = re.compile(r"^ \* {3}(?P<message>\S.*)")
_MASKED_BY = re.compile(r"^- \S+ \(masked by: (?P<why>.+)\)")


@dataclass(frozen=True)
class _Cause:
    """A line by which emerge reports an error of dependencies, its meaning, and a hint."""

    line: re.Pattern[str]
    message: str
    hint: str

    def error(self, match: re.Match[str], said: Sequence[str]) -> StagewrightError:
        """Return the error; ``said`` is the output of emerge from that line on."""
        message = self.message.format(**match.groupdict())
        masks = [masked["why"] for line in said if (masked := _MASKED_BY.match(line))]
        why = sorted({reason for mask in masks for reason in mask.split(", ")})
        message += f" by {', '.join(why)}" if why else ""
        return StagewrightError(Reason.DEPENDENCIES, f"dependencies: {message}", detail="\n".join(said), hint=self.hint)


_CAUSES = (
    _Cause(
        re.compile(r'^emerge: there are no (?:ebuilds|binary packages) to satisfy "(?P<atom>[^"]+)"'),
        "no ebuild for {atom}",
        "add the repository that has it, or correct the dependency of the package",
    ),
    _Cause(
        re.compile(r'^!!! All ebuilds that could satisfy "(?P<atom>[^"]+)"(?: for \S+)? have been masked'),
        "{atom} is masked",
        "set `accept_keywords` for keywords, or write package.accept_keywords, package.unmask or package.license in a "
        "confdir",
    ),
    _Cause(
        re.compile(r'^emerge: there are no ebuilds built with USE flags to satisfy "(?P<atom>[^"]+)"'),
        "no ebuild for {atom} has these USE flags",
        "set the flags in `use`, or for one package in package.use of a confdir",
    ),
    _Cause(
        re.compile(r"^The following USE changes are necessary to proceed"),
        "USE changes are necessary",
        "set the flags in `use`, or for one package in package.use of a confdir",
    ),
    _Cause(
        re.compile(r"^The following (?P<what>\w+) changes are necessary to proceed"),
        "{what} changes are necessary",
        "set `accept_keywords` or `accept_license`, or write them in a confdir",
    ),
    _Cause(
        re.compile(r"^!!! Multiple package instances within a single package slot"),
        "slot conflict",
        "request versions or USE flags that do not conflict",
    ),
    _Cause(
        re.compile(r"^ \* Error: circular dependencies"),
        "circular dependencies",
        "build one of the packages in an earlier stage, without the USE flags that need the other",
    ),
    _Cause(
        re.compile(r"^!!! Your current profile is invalid|^!!! .*make\.profile is not a symlink"),
        "the profile is invalid",
        "check the profile and its parents",
    ),
    _Cause(
        re.compile(r"^!!! The ebuild selected to satisfy \"(?P<atom>[^\"]+)\" has unmet requirements"),
        "REQUIRED_USE of {atom} is not met",
        "set the flags in `use`, or for one package in package.use of a confdir",
    ),
)

DISTFILES = Path("cache/distfiles")
"""Path of the shared distfiles below the folder of a store."""

KEPT = 400
"""The number of last lines of emerge that are kept to explain a failure."""


@dataclass
class EmergeOutput:
    """The output of one run of emerge, read line by line."""

    lines: list[str] = field(default_factory=list)
    hosts: dict[str, str] = field(default_factory=dict)  # errors of binary package hosts, by name
    fetched: set[str] = field(default_factory=set)  # packages (category/package-version) whose files emerge fetched
    merged: set[str] = field(default_factory=set)  # packages that emerge merged
    sources: list[str] = field(default_factory=list)  # packages (category/package-version[::repo]) that it will build

    def read(self, line: str) -> tuple[int, int, str] | None:
        """Read a line. Return (n, total, category/package-version) if it starts a package, else None."""
        line = _COLOUR.sub("", line)
        self.lines.append(line)
        if (listed := _LISTED.match(line)) and listed["what"] == "ebuild":
            self.sources.append(listed["package"] + (f"::{listed['repo']}" if listed["repo"] else ""))
        if about := _BINHOST.match(line):
            self.hosts[about["host"]] = about["said"]
        if len(self.lines) > 2 * KEPT:
            del self.lines[:KEPT]
        step = _STEP.match(line)
        if step and step["what"] == "Fetching":
            self.fetched.add(step["package"])
        if step and step["what"] == "Completed":
            self.merged.add(step["package"])
        if step and step["what"] in ("Emerging", "Emerging binary", "Fetching"):
            return int(step["done"]), int(step["total"]), step["package"]
        return None

    @staticmethod
    def asks(text: str) -> bool:
        """Return True if the end of the output is the question of ``--ask`` after the list of packages."""
        return text.startswith(_QUESTION) and text.rstrip().endswith("]")

    @property
    def failed(self) -> tuple[str, str] | None:
        """The failed package and its phase, or None if emerge does not name it."""
        for line in self.lines:
            if match := _FAILED.match(line):
                return match["package"], match["phase"]
        for line in self.lines:
            if match := _FAILED_JOB.match(line):
                return match["package"], {"fetch": "fetch", "install": "install"}.get(match["what"], "build")
        return None

    def failure(self, fetching: bool, distfiles: Path = DISTFILES) -> StagewrightError:
        """Return the error that explains the failure of this run. Hints name the folder of shared ``distfiles``."""
        error = self._dependency_error() or self._digest_error() or self._fetch_error(fetching, distfiles)
        if error:
            return error
        package, phase = self.failed or ("emerge", "")
        where = f" in its {phase} phase" if phase else ""
        return StagewrightError(Reason.PACKAGE_FAILED, f"{package} failed{where}", detail=failure_excerpt(self.lines))

    def _dependency_error(self) -> StagewrightError | None:
        for cause in _CAUSES:
            for number, line in enumerate(self.lines):
                if match := cause.line.match(line):
                    return cause.error(match, self._from(number))
        return None

    def _digest_error(self) -> StagewrightError | None:
        """Return the error for a file that does not match the index of its host or its Manifest."""
        if package := self._first(_TAMPERED):
            return StagewrightError(
                Reason.DIGEST_MISMATCH,
                f"{package['file']} from binhost {package['host']} does not match the index of the host",
                detail=self.tail(),
                hint="report it to the host: its package or its index `Packages` is wrong",
            )
        if distfile := self._first(_MISMATCH):
            return StagewrightError(
                Reason.FETCH_FAILED,
                f"{distfile['file'].rpartition('/')[2]} does not match the Manifest",
                detail=self.tail(),
                hint="compare the file and the Manifest of the package with upstream; one of them is wrong",
            )
        return None

    def _fetch_error(self, fetching: bool, distfiles: Path) -> StagewrightError | None:
        files = sorted({match["file"] or match["package"] for line in self.lines if (match := _FETCH.match(line))})
        if not fetching and not files:
            return None
        what = f"cannot fetch {', '.join(files)}" if files else "emerge --fetchonly failed"
        hint = f"run `stagewright fetch` with a network, put the file into {distfiles}, or correct SRC_URI"
        return StagewrightError(Reason.FETCH_FAILED, what, detail=self.tail(), hint=hint)

    def _first(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        return next(filter(None, map(pattern.match, self.lines)), None)

    def tail(self, count: int = 25) -> str:
        """Return the last non-empty lines."""
        return "\n".join([line for line in self.lines if line.strip()][-count:])

    def _from(self, number: int) -> list[str]:
        return [line for line in self.lines[number : number + 20] if line.strip()]


def failure_excerpt(lines: Sequence[str], before: int = 20) -> str:
    """Return the part of a build log that explains its failure: the lines before Portage's report, and its first lines.

    Without a report, return the end of the log.
    """
    said = [_COLOUR.sub("", line) for line in lines if line.strip()]
    for number, line in enumerate(said):
        if _FAILED.match(line):
            report = [line, *(text for text in said[number + 1 : number + 3] if _DIED.match(text))]
            return "\n".join([*said[max(0, number - before) : number], *report])
    return "\n".join(said[-before:])
