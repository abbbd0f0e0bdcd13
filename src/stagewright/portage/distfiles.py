"""Distfiles: one DISTDIR for each build, and a read-only folder that all builds share.

Portage renames a file that does not match the Manifest, but the Manifest may be wrong. So builds cannot write to the
shared folder. They see it read-only (PORTAGE_RO_DISTDIRS of make.conf(5)): Portage links matching files into the
DISTDIR and downloads the others there. Downloaded files are then copied into the shared folder, if the copy matches a
Manifest. A mirror folder of the project is read-only in the same way::

    /var/cache/distfiles           DISTDIR of the build; writable in the fetch step
    /var/cache/distfiles.shared    cache/distfiles of the store
    /var/cache/distfiles.folder    mirror folder of the project, if there is one
    /var/cache/distfiles.mirror    links by file name to everything in the mirror folder
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.confined import Tree
from stagewright.errors import Reason, StagewrightError
from stagewright.portage.confdir import DISTDIR
from stagewright.portage.manifests import Manifests, Records, matches
from stagewright.root.sandbox import Bind
from stagewright.untrusted import number

SHARED = "/var/cache/distfiles.shared"
FLAT_MIRROR = "/var/cache/distfiles.mirror"
MIRROR_FOLDER = "/var/cache/distfiles.folder"
"""Paths inside a root: of the shared folder, of links to the files of a mirror folder, and of that folder."""


LAYOUT_CONF = "layout.conf"
"""The file of a mirror that describes its layout (GLEP 75)."""


@dataclass(frozen=True)
class BuildDistfiles:
    """The folders of one build: ``own`` (its DISTDIR), ``shared`` (of the store), ``folder`` (a mirror)."""

    shared: Path
    own: Path
    mirrors: tuple[str, ...] = ()
    folder: Path | None = None
    records: Records = field(default_factory=dict)
    """The records of the Manifests of all packages that were fetched."""

    @property
    def variables(self) -> dict[str, str]:
        """The variables of make.conf(5) for these folders."""
        found = {"PORTAGE_RO_DISTDIRS": f"{SHARED} {FLAT_MIRROR}" if self.folder else SHARED}
        return {**found, "GENTOO_MIRRORS": " ".join(self.mirrors)} if self.mirrors else found

    def binds(self) -> list[Bind]:
        """Return the mounts for every command inside the root."""
        mirror = [Bind(self._flat(self.folder), FLAT_MIRROR), Bind(self.folder, MIRROR_FOLDER)] if self.folder else []
        return [Bind(self.own, DISTDIR), Bind(self.shared, SHARED), *mirror]

    def fetch_binds(self) -> list[Bind]:
        """Return the additional mounts of the fetch step."""
        return [Bind(self.own, DISTDIR, writable=True)]

    def share(self, manifests: Manifests) -> None:
        """Copy downloaded files that match a Manifest into the shared folder, where they replace others."""
        self.records.update(manifests.records())
        own = Tree(self.own, links=False)
        for name in self._files():
            if own.is_file(name):
                self._share(own, name)

    def _share(self, source: Tree, path: str) -> None:
        """Copy a file of a folder into the shared folder, unless that has it, or no Manifest describes it."""
        name = Path(path).name
        records, shared = self.records.get(name, []), self.shared / name
        if not records or (shared.exists() and matches(shared, records)):
            return
        temporary = self.shared / f".{name}.{secrets.token_hex(4)}"
        try:
            source.copy_out(path, temporary, max(number(record["size"]) or 0 for record in records))
            if matches(temporary, records):
                temporary.rename(shared)
        except OSError as error:
            if error.filename != path:
                raise
        finally:
            temporary.unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Return the names of all files that the build has used so far."""
        return sorted(self._files())

    def copy_from_mirror(self) -> None:
        """Copy the used files of the mirror folder into the shared folder. Later builds then need no mirror."""
        for name in self._files():
            target = os.readlink(self.own / name) if (self.own / name).is_symlink() else ""  # noqa: PTH115
            if self.folder and target.startswith(FLAT_MIRROR):
                inner = os.readlink(self._flat(self.folder) / name)  # noqa: PTH115
                self._share(Tree(self.folder), os.path.relpath(inner, MIRROR_FOLDER))

    def _files(self) -> Iterator[str]:
        """Yield the names of complete files, without temporary, rejected and internal files of Portage."""
        for entry in os.scandir(self.own):
            aside = (
                entry.name.startswith(".")
                or entry.name.endswith(".__download__")
                or "._checksum_failure_" in entry.name
            )
            if not aside and (entry.is_symlink() or entry.is_file()):
                yield entry.name

    def _flat(self, folder: Path) -> Path:
        """Return a folder with a link by file name to everything in a mirror, whatever its layout is."""
        if not folder.is_dir():
            raise StagewrightError(
                Reason.MISSING_FILE,
                f"distfiles.folder: folder {folder} not found",
                hint="mount it, or correct the path",
            )
        flat = self.own.with_name("distfiles.mirror")
        flat.mkdir(exist_ok=True)
        for here, _, names in os.walk(folder):
            inner = os.path.normpath(os.path.join(MIRROR_FOLDER, os.path.relpath(here, folder)))  # noqa: PTH118
            for name in names:
                # Portage would apply layout.conf to the flat folder and not find the files.
                if name != LAYOUT_CONF and not (flat / name).is_symlink():
                    (flat / name).symlink_to(f"{inner}/{name}")
        return flat
