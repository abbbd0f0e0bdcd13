"""Read the configuration of ``catalyst-auto``, a bash script. Stagewright reads its data and runs nothing.

Supported are assignments (``NAME=value``, ``"..."`` over several lines, ``'...'``, ``+=``, ``$NAME`` and ``${NAME}``)
and ``source FILE``. Function bodies are skipped. Every other line is skipped with a notice.
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
    r"(?P<value>(?:\"(?:\\[\s\S]|[^\"\\]++)*+\"|'[^']*+'|\\.|[^\s\"';&|()<>#\\]++)*+)(?=[ \t]*(?:#.*)?(?:\n|;|$))"
)
_SPACE = re.compile(r"(?:[\s;]++|#[^\n]*+)++")
_REST = re.compile(r"[^\n]*")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_WORD = re.compile(r"\S+")
_MOST_FILES = 1000
_LARGEST = 16 << 20  # size of all values in characters


@dataclass(frozen=True)
class Notice:
    """A remark about a place in a file that is not an error."""

    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"

    def to_dict(self) -> dict[str, Any]:
        """Return the notice as JSON data."""
        return {"message": self.text, "place": self.place.to_dict()}


@dataclass(frozen=True)
class Variable:
    """Value of a variable and its place."""

    value: str
    place: Place


@dataclass(frozen=True)
class BuildSet:
    """Specs that catalyst-auto builds one after the other. If an optional spec fails, it continues."""

    name: str
    specs: tuple[tuple[str, Place], ...]
    optional: tuple[tuple[str, Place], ...]


@dataclass
class AutoConf:
    """A configuration: its variables, its sets in order, and its folders."""

    file: Path
    variables: dict[str, Variable] = field(default_factory=dict)
    sets: list[BuildSet] = field(default_factory=list)
    specs_dir: Path | None = None
    kconfig_dir: Path | None = None


def looks_like_auto(file: Path) -> bool:
    """Return True if a file is for catalyst-auto. Unlike catalyst.conf it has ``source`` or names in capitals."""
    pattern = r"^(?:source |\. |export |[A-Z][A-Z0-9_]\w*\+?=|\w+ ?\(\))"
    return bool(re.search(pattern, read_text(file), re.MULTILINE))


class _AutoReader:
    def __init__(self, conf: AutoConf, given: Mapping[str, str], problems: list[StagewrightError]) -> None:
        self.conf, self.problems, self.notices = conf, problems, list[Notice]()
        here = Place(conf.file)
        home = str(conf.file.resolve().parent.parent)  # these files are in the folder tools of the checkout
        self._size = self._files = 0
        self.given = {"REPO_DIR": home, **given}
        conf.variables.update({name: Variable(value, here) for name, value in self.given.items()})

    def read(self, file: Path, above: tuple[Path, ...] = ()) -> None:
        """Read the data of a file and of the files that it sources. ``above`` are the files that source this one."""
        self._files += 1
        if self._files > _MOST_FILES:
            message, hint = f"more than {_MOST_FILES} files are sourced", "source each file once"
            raise StagewrightError(Reason.INVALID_VALUE, message, place=Place(file), hint=hint)
        text = read_text(file)
        position = counted = lines = 0
        while position < len(text):
            space = _SPACE.match(text, position)
            if space:
                position = space.end()
                continue
            lines, counted = lines + text.count("\n", counted, position), position
            place = Place(file, lines + 1, position - text.rfind("\n", 0, position))
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
                self.notices.append(Notice(place, f"skipped, only bash can run it: {rest.group().strip()[:60]}"))
                position = rest.end()

    def body_end(self, text: str, start: int) -> int:
        """Return the offset after a function: after its closing brace on the same line, or at the start of a line."""
        line_end = text.find("\n", start)
        line = text[start : line_end if line_end >= 0 else len(text)]
        if "}" in line:
            return start + line.rindex("}") + 1
        found = re.compile(r"^\}", re.MULTILINE).search(text, start)
        return found.end() if found else len(text)

    def assign(self, found: re.Match[str], place: Place) -> None:
        """Store a variable. Values of ``--set`` are not overwritten."""
        name, value = found["name"], self.expand(found["value"], place)
        if name in self.given:
            return
        earlier = self.conf.variables.get(name)
        self.conf.variables[name] = Variable(earlier.value + value if found["add"] and earlier else value, place)
        self._bound(len(self.conf.variables[name].value), place)

    def _bound(self, characters: int, place: Place) -> None:
        """Add to the size of all values. Raises ``INVALID_VALUE`` above the limit: values with others in them grow."""
        self._size += characters
        if self._size > _LARGEST:
            message = f"the values are too long after variables are replaced (more than {_LARGEST} characters)"
            raise StagewrightError(Reason.INVALID_VALUE, message, place=place, hint="shorten the variables")

    def source(self, word: str, place: Place, above: tuple[Path, ...]) -> None:
        """Read a sourced file."""
        file = Path(self.expand(word, place))
        if "$" in str(file):
            self.notices.append(Notice(place, f"skipped, its path is only known to bash: {file}"))
        elif not os.path.isfile(file) and not file.is_relative_to(self.conf.variables["REPO_DIR"].value):  # noqa: PTH113
            self.notices.append(Notice(place, f"skipped, not found on this machine: {file}"))
        elif not os.path.isfile(file):  # noqa: PTH113  pathlib raises for names that are too long
            hint = "add --set REPO_DIR=FOLDER if the file is below another folder"
            problem = StagewrightError(Reason.MISSING_FILE, f"{file} not found", place=place, hint=hint)
            self.problems.append(problem)
        elif file.resolve() in above:
            self.problems.append(cycle_error([*map(str, above[above.index(file.resolve()) :]), str(file)], place))
        else:
            self.read(file, above)

    def expand(self, text: str, place: Place) -> str:
        """Return a value without its quotes and with the known variables replaced."""

        def known(found: re.Match[str]) -> str:
            variable = self.conf.variables.get(found[1] or found[2])
            self._bound(len(variable.value) if variable else 0, place)
            return variable.value if variable else found[0]

        parts = re.split(r"('[^']*')", text.replace("\\\n", ""))
        plain = (part[1:-1] if part.startswith("'") else _VARIABLE.sub(known, part.replace('"', "")) for part in parts)
        return "".join(plain)

    def value(self, name: str) -> Variable | None:
        """Return a variable. A value with an unknown variable in it is an error."""
        variable = self.conf.variables.get(name)
        if variable is None or "$" not in variable.value:
            return variable
        hint = "add --set NAME=VALUE for the variable in it"
        message = f"{name}: the value of {variable.value!r} is only known to bash"
        self.problems.append(StagewrightError(Reason.INVALID_VALUE, message, place=variable.place, hint=hint))
        return None

    def specs(self, name: str) -> tuple[tuple[str, Place], ...]:
        """Return the words of a variable, each with the place of the variable."""
        variable = self.value(name)
        return tuple((word, variable.place) for word in _WORD.findall(variable.value)) if variable else ()

    def sets(self) -> None:
        """Read the sets: the one without a name, then those in SETS."""
        for name in ["", *(word for word, _ in self.specs("SETS"))]:
            prefix = f"SET_{name}_" if name else ""
            specs, optional = self.specs(f"{prefix}SPECS"), self.specs(f"{prefix}OPTIONAL_SPECS")
            if specs or optional:
                self.conf.sets.append(BuildSet(name, specs, optional))
            elif name:
                place = self.conf.variables["SETS"].place
                message = f"set {name!r}: SET_{name}_SPECS and SET_{name}_OPTIONAL_SPECS are missing"
                hint = "define one of them, or remove the set from SETS"
                self.problems.append(StagewrightError(Reason.UNKNOWN_NAME, message, place=place, hint=hint))


def read_auto(
    file: Path, given: Mapping[str, str], problems: list[StagewrightError], notices: list[Notice]
) -> AutoConf:
    """Read a configuration. Errors are appended to ``problems``, remarks to ``notices``.

    ``given`` are the values of ``--set``. The default of REPO_DIR is the parent of the file's folder.
    """
    conf = AutoConf(file)
    reader = _AutoReader(conf, given, problems)
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
