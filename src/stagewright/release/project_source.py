"""The git commit of a project, for provenance."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

from stagewright.errors import StagewrightError
from stagewright.graph.given import Given, NotInKey
from stagewright.run import run

_NO_HOME = {"HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"}
"""For git as another user, who cannot read the settings of this one."""
_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_LITERAL_PATHSPECS": "1"}


class ProjectSource(Given):
    """The git commit of a project, and its folder in the repository, empty for the top.

    ``changed`` is True if a file that a build reads differs from the commit. Address, commit and folder are not part of
    keys: a commit that changes no file of a build changes no result.
    """

    url: Annotated[str, NotInKey()] = ""
    commit: Annotated[str, NotInKey()] = ""
    changed: bool = False
    folder: Annotated[str, NotInKey()] = ""


def project_source(folder: Path, files: Collection[Path]) -> ProjectSource | None:
    """Return the commit of the project in a folder, or None if it is not in a work tree of the folder's owner.

    ``files`` are the files and folders that the build reads. A repository can name programs that git starts. So git
    runs as the owner of the repository, and not as root.
    """
    found = _repository(folder)
    if found is None:
        return None
    top, owner = found
    git = _Git(top, owner)
    inside = {os.path.relpath(path, top) for path in (file.resolve() for file in files) if path.is_relative_to(top)}
    if not inside:
        return None
    words = ["status", "--porcelain=v2", "--branch", "--untracked-files=normal", "--ignored", "--", *sorted(inside)]
    try:
        lines = git(*words).splitlines()
        url = git("config", "--get", "remote.origin.url", check=False)
    except StagewrightError:
        return None
    commit = next((line.split()[2] for line in lines if line.startswith("# branch.oid ")), "")
    if not re.fullmatch(r"[0-9a-f]{40,64}", commit):
        return None
    changed = any(not line.startswith("#") for line in lines)
    place = os.path.relpath(folder.resolve(), top)
    return ProjectSource(url=public_address(url), commit=commit, changed=changed, folder="" if place == "." else place)


def _repository(folder: Path) -> tuple[Path, os.stat_result] | None:
    """Return the top and the owner of the work tree of a folder. None if there is none, or this user cannot act for
    the owner."""
    folder = folder.resolve()
    owner = folder.stat()
    for above in (folder, *folder.parents):
        try:
            found = (above / ".git").lstat()
        except OSError:
            continue
        allowed = os.geteuid() in (found.st_uid, 0)
        return (above, found) if allowed and found.st_uid == owner.st_uid else None
    return None


@dataclass(frozen=True)
class _Git:
    """git(1) in a folder, as the owner of its repository."""

    folder: Path
    owner: os.stat_result

    def __call__(self, *words: str, check: bool = True) -> str:
        command, environment = ["git", "-c", "core.fsmonitor=false", *words], _ENVIRONMENT
        if self.owner.st_uid != os.geteuid():
            ids = ["--reuid", str(self.owner.st_uid), "--regid", str(self.owner.st_gid), "--clear-groups"]
            command, environment = ["setpriv", *ids, "--", *command], {**_ENVIRONMENT, **_NO_HOME}
        return run(command, cwd=self.folder, env=environment, check=check).stdout.strip()


def public_address(url: str) -> str:
    """Return an address without user, password and query, which can hold secrets; empty for a path of this computer."""
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        known = re.fullmatch(r"(?:[^@/]+@)?([A-Za-z0-9.-]+):(?!/)(.+)", url)  # host:path, as scp(1) has it
        return f"ssh://{known[1]}/{known[2]}" if known else ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
