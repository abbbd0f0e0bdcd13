"""The configuration of ``catalyst-auto``: bash by nature, of which the data part is read and nothing is run.

Read are assignments (``NAME=value``, ``"..."`` over several lines, ``'...'``, ``+=``, ``$NAME`` and ``${NAME}``) and
``source FILE``. Bodies of functions are passed over. Anything else is told of, and not done.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stagewright.errors import Place, Reason, StagewrightError
from stagewright.graph.node import cycle_error
from stagewright.project.source import read_text

_SOURCE = re.compile(r"(?:source|\.)[ \t]+(?P<file>\"[^\"\n]*\"|'[^'\n]*'|\S+)")
_FUNCTION = re.compile(r"(?:function[ \t]+)?[\w-]+[ \t]*\(\)[ \t\n]*\{|function[ \t]+[\w-]+[ \t\n]*\{")
_ASSIGNMENT = re.compile(
    r"(?:export[ \t]+)?(?P<name>[A-Za-z_]\w*)(?P<add>\+?)="
    r"(?P<value>(?:\"(?:\\[\s\S]|[^\"\\])*\"|'[^']*'|\\.|[^\s\"';&|()<>#\\])*)(?=[ \t]*(?:#.*)?(?:\n|;|$))"
)
_REST = re.compile(r"[^\n]*")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Notice:
    """Something that is not wrong, but worth a look."""

    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"

    def to_dict(self) -> dict[str, Any]:
        """The notice as JSON-able data."""
        return {"message": self.text, "place": self.place.to_dict()}


@dataclass(frozen=True)
class Variable:
    """The value of a variable, and where it is written."""

    value: str
    place: Place


@dataclass(frozen=True)
class BuildSet:
    """Specs that catalyst-auto builds one after the other; it goes on without the optional ones."""

    name: str
    specs: tuple[tuple[str, Place], ...]
    optional: tuple[tuple[str, Place], ...]


@dataclass
class AutoConf:
    """One configuration: its variables, sets in order, and folders."""

    file: Path
    variables: dict[str, Variable] = field(default_factory=dict)
    sets: list[BuildSet] = field(default_factory=list)
    specs_dir: Path | None = None
    kconfig_dir: Path | None = None


def looks_like_auto(file: Path) -> bool:
    """Whether a file is catalyst-auto's rather than catalyst.conf: only bash has ``source``, and names in capitals."""
    pattern = r"^(?:source |\. |export |[A-Z][A-Z0-9_]\w*\+?=|\w+ ?\(\))"
    return bool(re.search(pattern, read_text(file), re.MULTILINE))


class _Reader:
    def __init__(self, conf: AutoConf, given: Mapping[str, str], problems: list[StagewrightError]) -> None:
        self.conf, self.problems, self.notices = conf, problems, list[Notice]()
        here = Place(conf.file)
        home = str(conf.file.resolve().parent.parent)  # these files lie in the folder tools of the checkout
        self.given = {"REPO_DIR": home, **given}
        conf.variables.update({name: Variable(value, here) for name, value in self.given.items()})

    def read(self, file: Path, above: tuple[Path, ...] = ()) -> None:
        """Take the data part of one file, and of those that it sources."""
        text = read_text(file)
        position = 0
        while position < len(text):
            space = re.compile(r"(?:[\s;]|#[^\n]*)+").match(text, position)
            if space:
                position = space.end()
                continue
            place = Place(file, text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position))
            function, source = _FUNCTION.match(text, position), _SOURCE.match(text, position)
            assignment = _ASSIGNMENT.match(text, position)
            if function:
                position = self.body_end(text, function.end())
            elif source:
                self.source(source["file"], place, (*above, file.resolve()))
                position = source.end()
            elif assignment:
                self.assign(assignment, place)
                position = assignment.end()
            else:
                rest = _REST.match(text, position)
                assert rest
                self.notices.append(Notice(place, f"not read, as it is not data: {rest.group().strip()[:60]}"))
                position = rest.end()

    def body_end(self, text: str, start: int) -> int:
        """The end of a function: its closing brace at the start of a line, or the one that closes it on its line."""
        line_end = text.find("\n", start)
        line = text[start : line_end if line_end >= 0 else len(text)]
        if "}" in line:
            return start + line.rindex("}") + 1
        found = re.compile(r"^\}", re.MULTILINE).search(text, start)
        return found.end() if found else len(text)

    def assign(self, found: re.Match[str], place: Place) -> None:
        """Take a variable; what was given with ``--set`` stays."""
        name, value = found["name"], self.expand(found["value"])
        if name in self.given:
            return
        earlier = self.conf.variables.get(name)
        self.conf.variables[name] = Variable(earlier.value + value if found["add"] and earlier else value, place)

    def source(self, word: str, place: Place, above: tuple[Path, ...]) -> None:
        """Read the file that a file sources."""
        file = Path(self.expand(word))
        if "$" in str(file):
            self.notices.append(Notice(place, f"not read, as only bash knows where it is: {file}"))
        elif not os.path.isfile(file) and not file.is_relative_to(self.conf.variables["REPO_DIR"].value):  # noqa: PTH113
            self.notices.append(Notice(place, f"not read, as it is not on this machine: {file}"))
        elif not os.path.isfile(file):  # noqa: PTH113  pathlib raises for names that are too long
            hint = "give --set REPO_DIR=FOLDER where the file lies below another folder"
            problem = StagewrightError(Reason.MISSING_FILE, f"{file} is not there", place=place, hint=hint)
            self.problems.append(problem)
        elif file.resolve() in above:
            self.problems.append(cycle_error([*map(str, above[above.index(file.resolve()) :]), str(file)], place))
        else:
            self.read(file, above)

    def expand(self, text: str) -> str:
        """A value without its quotes, with the variables that are known."""

        def known(found: re.Match[str]) -> str:
            variable = self.conf.variables.get(found[1] or found[2])
            return variable.value if variable else found[0]

        parts = re.split(r"('[^']*')", text.replace("\\\n", ""))
        plain = (part[1:-1] if part.startswith("'") else _VARIABLE.sub(known, part.replace('"', "")) for part in parts)
        return "".join(plain)

    def value(self, name: str) -> Variable | None:
        """A variable that must be known in full."""
        variable = self.conf.variables.get(name)
        if variable is None or "$" not in variable.value:
            return variable
        hint = "give what it stands for with --set NAME=VALUE"
        message = f"{name}: only bash knows what {variable.value!r} is"
        self.problems.append(StagewrightError(Reason.INVALID_VALUE, message, place=variable.place, hint=hint))
        return None

    def specs(self, name: str) -> tuple[tuple[str, Place], ...]:
        """The words of a variable, each with the place of the variable."""
        variable = self.value(name)
        return tuple((word, variable.place) for word in _WORD.findall(variable.value)) if variable else ()

    def sets(self) -> None:
        """The sets: the one without a name, then those of SETS."""
        for name in ["", *(word for word, _ in self.specs("SETS"))]:
            prefix = f"SET_{name}_" if name else ""
            specs, optional = self.specs(f"{prefix}SPECS"), self.specs(f"{prefix}OPTIONAL_SPECS")
            if specs or optional:
                self.conf.sets.append(BuildSet(name, specs, optional))
            elif name:
                place = self.conf.variables["SETS"].place
                message = f"set {name!r} has neither SET_{name}_SPECS nor SET_{name}_OPTIONAL_SPECS"
                hint = "give it specs, or take it out of SETS"
                self.problems.append(StagewrightError(Reason.UNKNOWN_NAME, message, place=place, hint=hint))


def read_auto(
    file: Path, given: Mapping[str, str], problems: list[StagewrightError], notices: list[Notice]
) -> AutoConf:
    """Read one file. ``given`` are the values of ``--set``; REPO_DIR is the folder above the file's if not given."""
    conf = AutoConf(file)
    reader = _Reader(conf, given, problems)
    try:
        reader.read(file)
    except StagewrightError as error:
        problems.append(error)
        return conf
    specs, kconfig = reader.value("SPECS_DIR"), reader.value("KCONFIG_DIR")
    conf.specs_dir = Path(specs.value) if specs else file.resolve().parent
    conf.kconfig_dir = Path(kconfig.value) if kconfig else None
    reader.sets()
    notices += reader.notices
    return conf
