"""Distfiles: a folder of each build's own, in front of those that all builds share.

Portage renames a file that does not match the Manifest at hand, and the Manifest may be the one that is wrong. So no
build can write to the shared folder: it sees that read-only beside its own DISTDIR (PORTAGE_RO_DISTDIRS of
make.conf(5)), where Portage puts links to what fits and downloads what does not. What was downloaded, and so was
verified by a Manifest, is then taken into the shared folder. A mirror folder of the project is seen in the same way.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.portage.confdir import DISTDIR
from stagewright.root.sandbox import Bind

SHARED = "/var/cache/distfiles.shared"
FLAT = "/var/cache/distfiles.mirror"
MIRROR = "/var/cache/distfiles.folder"
"""Where the shared folder, and a mirror folder of the project, show up inside a root."""


LAYOUT = "layout.conf"
"""The file in which a mirror says how it is arranged (GLEP 75)."""


@dataclass(frozen=True)
class BuildDistfiles:
    """The folders of one build: ``own`` is its DISTDIR, ``shared`` that of the store, ``folder`` one of the project."""

    shared: Path
    own: Path
    mirrors: tuple[str, ...] = ()
    folder: Path | None = None

    @property
    def variables(self) -> dict[str, str]:
        """What make.conf(5) says of it."""
        found = {"PORTAGE_RO_DISTDIRS": f"{SHARED} {FLAT}" if self.folder else SHARED}
        return {**found, "GENTOO_MIRRORS": " ".join(self.mirrors)} if self.mirrors else found

    def binds(self) -> list[Bind]:
        """What every command inside the root sees."""
        mirror = [Bind(self._flat(self.folder), FLAT), Bind(self.folder, MIRROR)] if self.folder else []
        return [Bind(self.own, DISTDIR), Bind(self.shared, SHARED), *mirror]

    def fetch_binds(self) -> list[Bind]:
        """What the networked step sees besides."""
        return [Bind(self.own, DISTDIR, writable=True)]

    def share(self) -> None:
        """Take what was downloaded into the shared folder; of two files of one name the newer is as good as any."""
        for name in self._files():
            mine, shared = self.own / name, self.shared / name
            if not mine.is_symlink() and not (shared.exists() and shared.samefile(mine)):
                temporary = self.shared / f".{name}.{secrets.token_hex(4)}"
                os.link(mine, temporary)
                temporary.rename(shared)

    def names(self) -> list[str]:
        """The files that the build has asked for up to now."""
        return sorted(self._files())

    def copy_from_mirror(self) -> None:
        """Take what was found in the mirror folder into the shared one, so that it is there without the mirror."""
        for name in self._files():
            target = os.readlink(self.own / name) if (self.own / name).is_symlink() else ""  # noqa: PTH115
            if self.folder and target.startswith(FLAT):
                inner = os.readlink(self._flat(self.folder) / name)  # noqa: PTH115
                temporary = self.shared / f".{name}.{secrets.token_hex(4)}"
                shutil.copyfile(self.folder / os.path.relpath(inner, MIRROR), temporary)
                temporary.rename(self.shared / name)

    def _files(self) -> Iterator[str]:
        """Whole files: not what Portage is downloading, has set aside, or keeps for itself."""
        for entry in os.scandir(self.own):
            aside = (
                entry.name.startswith(".")
                or entry.name.endswith(".__download__")
                or "._checksum_failure_" in entry.name
            )
            if not aside and (entry.is_symlink() or entry.is_file()):
                yield entry.name

    def _flat(self, folder: Path) -> Path:
        """Links by name alone to everything in a mirror, however its folders are arranged."""
        if not folder.is_dir():
            raise StagewrightError(
                Reason.MISSING_FILE,
                f"distfiles.folder: there is no folder {folder}",
                hint="mount it, or correct the path",
            )
        flat = self.own.with_name("distfiles.mirror")
        flat.mkdir(exist_ok=True)
        for here, _, names in os.walk(folder):
            inner = os.path.normpath(os.path.join(MIRROR, os.path.relpath(here, folder)))  # noqa: PTH118
            for name in names:
                # With the layout of the mirror Portage would look for files in the folders that are left out here.
                if name != LAYOUT and not (flat / name).is_symlink():
                    (flat / name).symlink_to(f"{inner}/{name}")
        return flat
