"""New projects from Catalyst's specs: what the storedir does not have comes from Gentoo's mirrors."""

from __future__ import annotations

import re
from pathlib import Path

from stagewright.dropin.project import Specs, load_specs
from stagewright.dropin.written import write_and_read
from stagewright.project.model import FILE_NAME
from stagewright.store.store import Store

MIRROR = "https://distfiles.gentoo.org"
_SNAPSHOT = re.compile(r'^path = "(?P<path>repos/[^"]+)"$', re.MULTILINE)
_SEED = re.compile(
    r'^file = "(?P<path>[^"\n]*/(?P<variant>stage3-[^"/\n]+?)-(?:latest|[0-9TZ]{8,}|\{\w+\})\.tar[.\w]*)"\n'
    r'(?:arch = "\w+"\n)?',
    re.MULTILINE,
)


def write_new_project(specs: Specs, folder: Path, store: Store) -> list[str]:
    """Write the project of the specs into a folder, and return the errors of the specs that were left out.

    Seeds that are stage3s of Gentoo, and the snapshot, come from a mirror if they are not in the storedir.
    """
    loaded = load_specs(specs, store).usable(keep_refused=True)
    project = loaded.project(lenient=True)
    for _ in write_and_read(loaded, project, folder, store.path.absolute()):
        pass
    file = folder / FILE_NAME
    file.write_text(from_mirror(file.read_text(encoding="utf-8"), folder), encoding="utf-8")
    return [str(error) for error in (*loaded.left_out, *loaded.converted.refused)]


def from_mirror(text: str, folder: Path) -> str:
    """Return the text of a project file in which files that are not there are replaced by those of Gentoo's mirrors."""

    def snapshot(found: re.Match[str]) -> str:
        return found[0] if (folder / found["path"]).exists() else f'squashfs = "{MIRROR}/snapshots/squashfs"'

    def seed(found: re.Match[str]) -> str:
        there = (folder / found["path"]).exists()
        return found[0] if there else f'mirror = "{MIRROR}"\nvariant = "{found["variant"]}"\n'

    return _SEED.sub(seed, _SNAPSHOT.sub(snapshot, text))
