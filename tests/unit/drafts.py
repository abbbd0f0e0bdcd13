"""A project under construction, with small kinds, and a way to mark places in its text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stagewright.errors import Place, ProblemsError, Reason, StagewrightError
from stagewright.project.fields import Atom, BinhostRef, FilePath, FolderPath, RepoRef, RootRef, Section, StageRef
from stagewright.project.load import Kinds, load
from stagewright.project.model import Project

HEAD = 'format = 1\nproject = { name = "p", version = "1" }\n'


class Inner(Section):
    level: int = 1
    console: list[str] = []
    package: Atom | None = None


class RootStage(Section):
    root: RootRef | None = None
    repos: list[RepoRef] = []
    binhosts: list[BinhostRef] = []
    packages: list[Atom] = []
    patterns: list[str] = []
    overlay: list[FolderPath] = []
    script: FilePath | None = None
    quiet: bool = False
    values: dict[str, str] = {}
    inner: Inner = Inner()
    steps: list[Inner] = []


class ImageStage(Section):
    live: StageRef
    boot: StageRef


class FileSeed(Section):
    file: FilePath


class BootstrapSeed(Section):
    bootstrap: Literal["debian"]


class BootTest(Section):
    boots: StageRef


KINDS: Kinds = {
    "seeds": {"file": FileSeed, "bootstrap": BootstrapSeed},
    "stages": {"root": RootStage, "image": ImageStage},
    "tests": {"boots": BootTest},
}


@dataclass
class Draft:
    """A project under construction. ``§`` in a text marks a place where an error is expected."""

    folder: Path
    expected: list[Place] = field(default_factory=list)
    kinds: Kinds = field(default_factory=lambda: KINDS)

    def write(self, text: str, name: str = "stagewright.toml", *, head: str = HEAD) -> Draft:
        """Write a file; the main file begins with the head that every project needs."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = head + text if name == "stagewright.toml" else text
        for line_number, line in enumerate(whole.split("\n"), 1):
            parts = line.split("§")
            for number in range(1, len(parts)):
                self.expected.append(Place(path, line_number, len("".join(parts[:number])) + 1))
        path.write_bytes(whole.replace("§", "").encode())
        return self

    def load(self) -> Project:
        """Read the project."""
        return load(self.folder, self.kinds)

    def problems(self) -> list[StagewrightError]:
        """Return all errors of the project."""
        try:
            self.load()
        except ProblemsError as error:
            return error.problems
        except StagewrightError as error:
            return [error]
        return []

    def check(self, *reasons: Reason, hints: bool = True) -> list[StagewrightError]:
        """Assert these reasons, in order, at the marked places, each with a hint."""
        problems = self.problems()
        shown = "\n".join(map(str, problems))
        assert [problem.reason for problem in problems] == list(reasons), shown
        assert [problem.place for problem in problems] == sorted(self.expected), shown
        assert all(problem.message for problem in problems)
        assert not hints or all(problem.hint for problem in problems), shown
        return problems
