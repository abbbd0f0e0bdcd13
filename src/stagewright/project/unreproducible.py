"""``[unreproducible.NAME]``: files that are known to differ in each build, and why."""

from __future__ import annotations

import fnmatch
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.project.fields import Matching, Section

_PACKAGE = Matching(
    r"[A-Za-z0-9_][A-Za-z0-9+_.-]*(/[A-Za-z0-9_][A-Za-z0-9+_-]*)?", "category/package, or a package of Debian"
)
_FILE = Matching(r"/[^\x00\n]*", "an absolute path, which can have * and ?")


class Unreproducible(Section):
    """``[unreproducible.NAME]``: a difference between builds that ``stagewright reproduce`` accepts."""

    packages: list[Annotated[str, _PACKAGE]] = []
    """Packages whose files differ in each build: category/package, or a package of Debian."""
    files: list[Annotated[str, _FILE]] = []
    """Files that differ in each build: shell patterns of paths. With `packages`, only these files of them."""
    why: Annotated[str, Field(min_length=1, max_length=500)]
    """The reason, in a line: reports print it."""

    @model_validator(mode="after")
    def _names_something(self) -> Unreproducible:
        if not (self.packages or self.files):
            facts = {"hint": "name `packages`, `files` or both"}
            raise PydanticCustomError("unreproducible", "`packages` and `files` are missing", facts)
        return self

    def covers(self, path: str, package: str) -> bool:
        """Return True for a file of a package. ``package`` is its name without a version, or "" for none."""
        if self.packages and package not in self.packages:
            return False
        return not self.files or any(fnmatch.fnmatchcase(path, pattern) for pattern in self.files)
