"""Sources of live ebuilds: fetched from git with a network before a build, which then takes exactly these commits.

A live ebuild (PROPERTIES=live) fetches its source while Portage unpacks it. Stagewright runs this phase alone, in a
root that it then drops, and keeps the clones that git-r3.eclass makes. Their commits are a pin of the lock. A build
gets a copy of the clones, and these variables of the eclass::

    EGIT3_STORE_DIR               the folder with the clones
    EGIT_OVERRIDE_COMMIT_<NAME>   the commit to use of a clone; NAME is made from the name of its folder
    EVCS_OFFLINE=1                use only what the clones have

The store keeps the clones of each pin. Code of the project ran as root while they were fetched, so other projects do
not get them::

    cache/live/<project>/<digest of atom and commits>/<clone>.git
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from stagewright.confined import Tree
from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.portage.emerge import PORTAGE_UID, Portage
from stagewright.portage.scripts import ask_script
from stagewright.root import files
from stagewright.root.sandbox import Bind

CLONES = "/var/cache/git3-src"
"""EGIT3_STORE_DIR inside a root."""

OVERRIDE = "EGIT_OVERRIDE_COMMIT_"

_ECLASS = "git-r3"

_LARGEST_FILE = 1 << 40
"""The largest file of a clone (bytes); the limits of the node apply first."""

_LONGEST_LOG = 1 << 20

CloneName = Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,200}$")]
"""Name of a clone in variables of git-r3.eclass."""

CommitId = Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]

Commits = Mapping[str, str]
"""Commits by the names of their clones."""


class LivePin(BaseModel):
    """Entries of the lock for a live package. ``package`` is its category/name-version."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    package: str
    commits: Annotated[dict[CloneName, CommitId], Field(min_length=1)]


class LiveEbuild(BaseModel):
    """The ebuild that Portage chooses for an atom. All texts are empty if there is none."""

    package: str
    path: str
    properties: list[str]
    eclasses: list[str]


@dataclass(frozen=True)
class LiveCache:
    """The clones of one project in the store."""

    folder: Path

    def clones(self, atom: str, commits: Commits) -> Path:
        """Return the folder with the clones of a pin. It exists if they are complete. Mark it as used."""
        digest = hashlib.sha256(json.dumps([atom, dict(sorted(commits.items()))]).encode()).hexdigest()
        path = self.folder / digest[:32]
        if path.is_dir():
            os.utime(path)
        return path

    def keep(self, source: Path, atom: str, commits: Commits) -> None:
        """Copy clones that were fetched into the cache."""
        target = self.clones(atom, commits)
        if target.is_dir():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{target.name}.{secrets.token_hex(4)}"
        Tree(source, links=False).copy_tree_out(".", temporary, lambda _: False, _LARGEST_FILE)
        try:
            temporary.rename(target)
        except OSError:  # another build has kept the same clones in the meantime
            if not target.is_dir():
                raise

    def lend(self, atom: str, commits: Commits, target: Path) -> None:
        """Copy the clones of a pin into a folder of a build, where Portage's user may change them."""
        source = Tree(self.clones(atom, commits), links=False)
        for clone in source.names("."):
            if not (target / clone).exists():
                source.copy_tree_out(clone, target / clone, lambda _: False, _LARGEST_FILE)
        give_to_portage(target)


def give_to_portage(folder: Path) -> None:
    """Make Portage's user the owner of a folder and of everything in it."""
    for here, folders, names in os.walk(folder):
        for path in (here, *(os.path.join(here, name) for name in (*folders, *names))):  # noqa: PTH118
            os.chown(path, PORTAGE_UID, PORTAGE_UID, follow_symlinks=False)


def overrides(pins: Mapping[str, Commits]) -> dict[str, str]:
    """Return the variables that select the commits of pins by atom.

    Raises: LOCK_STALE if two pins have different commits of the same clone.
    """
    found: dict[str, tuple[str, str]] = {}
    for atom, commits in pins.items():
        for name, commit in commits.items():
            other, known = found.setdefault(name, (atom, commit))
            if known != commit:
                what = f"online: {other} and {atom} are pinned to different commits of one repository ({name})"
                hint = f"stagewright update {other} {atom}, or install one of them in another stage"
                raise StagewrightError(Reason.LOCK_STALE, what, hint=hint)
    return {f"{OVERRIDE}{name}": commit for name, (_, commit) in sorted(found.items())}


def offline_variables(pins: Mapping[str, Commits]) -> dict[str, str]:
    """Return the variables of a build, by the pins of its live packages."""
    return {"EVCS_OFFLINE": "1", "EGIT3_STORE_DIR": CLONES, **overrides(pins)}


def fetch_live(portage: Portage, atom: str, commits: Commits, target: Path) -> LivePin:
    """Unpack a live ebuild with a network, and return the commits that it took; ``target`` gets its clones.

    ``commits`` are those to take; without them, the ebuild takes the newest. The root of ``portage`` is changed by code
    of the ebuild. Raises: INVALID_VALUE if the ebuild is not live, or does not use git-r3.eclass; ENVIRONMENT_LACKS if
    the root does not have git(1); FETCH_FAILED.
    """
    ebuild = _ebuild(portage, atom)
    target.mkdir()
    give_to_portage(target)
    target.chmod(0o755)
    result = portage.root.run(
        *("ebuild", ebuild.path, "unpack"),
        network=True,
        binds=[*portage.fetch_only_binds, Bind(target, CLONES, writable=True)],
        env={**portage.environment, "EGIT3_STORE_DIR": CLONES, **overrides({atom: commits})},
        on_line=lambda _: None,
        check=False,
    )
    if result.code:
        raise _failure(portage, atom, ebuild, commits)
    shape, clones = dict[str, dict[str, CommitId]], Bind(target, CLONES)
    found = ask_script(portage.root, "live_commits.py", shape, arguments=[CLONES], binds=[clones])
    return LivePin(package=ebuild.package, commits=chosen_commits(atom, found))


def _ebuild(portage: Portage, atom: str) -> LiveEbuild:
    found = ask_script(portage.root, "live_ebuild.py", LiveEbuild, arguments=[atom], env=portage.environment)
    if not found.package:
        hint = "unmask it in a confdir: live ebuilds mostly need a line with ** in package.accept_keywords"
        raise StagewrightError(Reason.DEPENDENCIES, f"online: {atom}: every ebuild is masked", hint=hint)
    if "live" not in found.properties:
        what = f"online: {atom}: Portage chooses {found.package}, which is not a live ebuild"
        raise StagewrightError(Reason.INVALID_VALUE, what, hint="name the live version, or remove it from `online`")
    if _ECLASS not in found.eclasses:
        what = f"online: {found.package}: its source is not fetched by {_ECLASS}.eclass, so it cannot be pinned"
        raise StagewrightError(Reason.INVALID_VALUE, what, hint="use an ebuild of a released version")
    if not files.exists(portage.root.path, "usr/bin/git"):
        what = f"online: {found.package}: the root has no git to fetch with"
        hint = "install dev-vcs/git in the stage or seed before"
        raise StagewrightError(Reason.ENVIRONMENT_LACKS, what, hint=hint)
    return found


def chosen_commits(atom: str, found: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the commits to pin: by name of the clone. ``found`` are commits by clone and by id of the fetch.

    A submodule has the id of the repository that has it, and its name. The commit of that repository decides on it, so
    it has no pin. Raises: INVALID_VALUE if one repository is used at two commits, since git-r3.eclass accepts one.
    """
    ids = {one for by_id in found.values() for one in by_id}
    commits = {}
    for clone, by_id in found.items():
        own = {commit for one, commit in by_id.items() if not any(one.startswith(f"{other}/") for other in ids)}
        if len(own) > 1:
            what = f"online: {atom} uses {clone} at {len(own)} commits, which cannot be pinned"
            raise StagewrightError(Reason.INVALID_VALUE, what, hint="use an ebuild of a released version")
        if own:
            commits[clone_name(clone)] = own.pop()
    return commits


def clone_name(clone: str) -> str:
    """Return the name of a clone in variables of git-r3.eclass, such as EGIT_OVERRIDE_COMMIT_OWNER_PROJECT."""
    return re.sub(r"[^A-Za-z0-9_]", "_", clone.removesuffix(".git")).upper()


def _failure(portage: Portage, atom: str, ebuild: LiveEbuild, commits: Commits) -> StagewrightError:
    try:
        log = Tree(portage.folders.build, links=False).tail(f"portage/{ebuild.package}/temp/build.log", _LONGEST_LOG)
    except OSError:
        log = ""
    detail = "\n".join(f"  {line}" for line in log.splitlines()[-25:])
    hint = "look at the address of its repository (EGIT_REPO_URI)"
    if commits:
        hint = f"the repository may not have the pinned commit any more: stagewright update {atom}"
    what = f"online: {ebuild.package}: its source cannot be fetched"
    return StagewrightError(Reason.FETCH_FAILED, what, detail=detail, hint=hint)
