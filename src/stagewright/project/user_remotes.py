"""Remotes that a user or a computer has for all projects.

::

    /etc/stagewright/remotes.toml
    ~/.config/stagewright/remotes.toml    or below XDG_CONFIG_HOME

These files have tables ``[remotes.NAME]`` as a project has them. A later file replaces a remote of the same name, and
both replace that of a project: so a computer decides which signatures it asks for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from stagewright.errors import ProblemsError
from stagewright.project.remotes import Remote
from stagewright.project.source import read
from stagewright.project.tables import Problems, Table, read_tables
from stagewright.project.validate import validate

FILE = "stagewright/remotes.toml"

SYSTEM = Path("/etc") / FILE


def remote_files() -> Sequence[Path]:
    """Return the files with the remotes of this computer and of the user, which need not exist."""
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return (SYSTEM, own / FILE)


def remotes_of_files(files: Sequence[Path]) -> dict[str, Remote]:
    """Return the remotes in files; files that do not exist are left out. Raises everything that is wrong with them."""
    problems: Problems = []
    found: dict[str, Remote] = {}
    for file in files:
        if not file.exists():
            continue
        _, named = read_tables(read(file), file.parent, problems)
        tables: dict[str, Table] = named["remotes"]
        for name, table in tables.items():
            model = validate(Remote, table, "remote", problems).model
            if model:
                found[name] = model
    if problems:
        raise ProblemsError(problems)
    return found
