"""Templates of new projects: the examples that ``stagewright init`` copies.

``stagewright/templates/NAME`` is a link to ``examples/`` in the source tree, and a folder in an installed package.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import Place, Reason, StagewrightError, nearest
from stagewright.project.overrides import LOCAL

FOLDER = Path(__file__).parents[1] / "templates"
PROJECT_FILE = "stagewright.toml"
SCHEMA_FILE = "stagewright.schema.json"
"""The JSON schema for editors, which the first line of a template names."""

IGNORED = f"""# Results, help for editors, own values. Keep stagewright.lock: with it, another computer builds the same.
/out/
/{SCHEMA_FILE}
/{LOCAL}
"""
_GITIGNORE = ".gitignore"
_LEFT_OUT = ("stagewright.lock", SCHEMA_FILE, LOCAL, "__pycache__")
_NAME = re.compile(r'^(\[project\]\nname = )"[^"\n]*"', re.MULTILINE)


@dataclass(frozen=True)
class Template:
    """A template: its name, one line about it, and the starting point of its builds."""

    name: str
    summary: str
    start: str


TEMPLATES = {
    template.name: template
    for template in (
        Template("stage4", "packages, a user with an SSH key, services: a tarball and a disk image", "a stage3"),
        Template("live", "a live system under your own name: an ISO and the same for network boot", "a stage3"),
        Template("cloud", "a disk image (qcow2) with cloud-init", "a stage3"),
        Template("roflmaos", "a small live system in three stages, with tarballs and releases", "a stage3"),
        Template("catalyst", "a project from a folder of specs", "Catalyst's specs"),
        Template("debian", "a live system of own ebuilds, without any server of Gentoo", "Debian's packages"),
    )
}
"""The templates, by name. The template ``catalyst`` is converted from specs, the others are copied."""

SPECS = FOLDER / "specs"
"""The specs that the template ``catalyst`` converts if no others are given."""


def template(name: str) -> Template:
    """Return a template. Raises ``UNKNOWN_NAME``."""
    if name not in TEMPLATES:
        hint = nearest(name, TEMPLATES) or "stagewright init --list"
        raise StagewrightError(Reason.UNKNOWN_NAME, f"unknown template {name!r}", hint=hint)
    return TEMPLATES[name]


def copy_template(name: str, folder: Path, project: str) -> list[str]:
    """Write a template into a folder, for a project of this name, and return the paths of its files.

    Raises ``USAGE`` if the folder has one of the files already: nothing is overwritten.
    """
    source = FOLDER / name
    files = [PROJECT_FILE, *(file for file in files_of(source) if file != PROJECT_FILE)]
    if there := [file for file in files if (folder / file).exists() or (folder / file).is_symlink()]:
        raise StagewrightError(
            Reason.USAGE, f"{there[0]} exists already", place=Place(folder), hint="give a new or an empty folder"
        )
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, folder / file)
        if (source / file).stat().st_mode & 0o100:
            (folder / file).chmod((folder / file).stat().st_mode | 0o111)
    set_name(folder / PROJECT_FILE, project)
    return [*files, *ignore_results(folder)]


def files_of(source: Path) -> Iterator[str]:
    """Yield the files of a template in order, without results of a build and without the lock."""
    for path in sorted(source.rglob("*")):
        parts = path.relative_to(source).parts
        if path.is_file() and parts[0] != "out" and not set(parts) & set(_LEFT_OUT):
            yield "/".join(parts)


def set_name(file: Path, project: str) -> None:
    """Replace the name of the project in its file."""
    text = file.read_text(encoding="utf-8")
    file.write_text(_NAME.sub(rf'\1"{project}"', text, count=1), encoding="utf-8")


def name_schema(file: Path) -> None:
    """Name the schema in the first line of a project file, where editors look for it."""
    text = file.read_text(encoding="utf-8")
    if not text.startswith("#:schema"):
        file.write_text(f"#:schema {SCHEMA_FILE}\n{text}", encoding="utf-8")


def ignore_results(folder: Path) -> list[str]:
    """Write .gitignore, or add to it what it lacks; return its name if it was new."""
    file = folder / _GITIGNORE
    old = file.read_text(encoding="utf-8") if file.exists() else ""
    if "out" in (line.strip("/ ") for line in old.splitlines()):
        return []
    file.write_text(old + ("" if old.endswith("\n") or not old else "\n") + IGNORED, encoding="utf-8")
    return [] if old else [_GITIGNORE]


def name_for(folder: Path) -> str:
    """Return a name of a project made of the name of its folder; an empty string if no character fits."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", folder.resolve().name).strip("-")
