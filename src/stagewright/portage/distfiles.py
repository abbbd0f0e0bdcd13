"""Distfiles: one DISTDIR for each build, and a read-only folder that all builds share.

Portage renames a file that does not match the Manifest, but the Manifest may be wrong. So builds cannot write to the
shared folder. They see it read-only (PORTAGE_RO_DISTDIRS of make.conf(5)): Portage links matching files into the
DISTDIR and downloads the others there. Downloaded files are then copied into the shared folder, if the copy matches a
Manifest. A file there is never replaced, because builds of other projects may be reading it. If the project needs
another file of the same name, that goes into a folder of the project. A mirror folder is read-only in the same way. The
paths in the root are the same for all projects, because results can contain them::

    /var/cache/distfiles           DISTDIR of the build; writable in the fetch step
    /var/cache/distfiles.project   cache/distfiles/.projects/<project> of the store
    /var/cache/distfiles.shared    cache/distfiles of the store
    /var/cache/distfiles.folder    mirror folder of the project, if there is one
    /var/cache/distfiles.mirror    links by file name to everything in the mirror folder
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path

from stagewright.confined import Tree
from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.portage.confdir import DISTDIR
from stagewright.portage.manifests import Manifests, Records, matches
from stagewright.root.sandbox import Bind
from stagewright.untrusted import number

SHARED = "/var/cache/distfiles.shared"
PROJECT = "/var/cache/distfiles.project"
FLAT_MIRROR = "/var/cache/distfiles.mirror"
MIRROR_FOLDER = "/var/cache/distfiles.folder"
"""Paths inside a root: the shared folder, the project's folder in it, links to the files of the mirror folder, and
the mirror folder itself."""

PROJECTS = ".projects"
"""Folder of the shared folder with files that one project alone uses, below a digest of the project."""

LAYOUT_CONF = "layout.conf"
"""The file of a mirror that describes its layout (GLEP 75)."""


@dataclass(frozen=True)
class BuildDistfiles:
    """The folders of one build: ``own`` (its DISTDIR), ``shared`` (of the store), ``folder`` (a mirror).

    ``project`` is the name of the project's folder in ``shared``.
    """

    shared: Path
    own: Path
    project: str
    mirrors: tuple[str, ...] = ()
    folder: Path | None = None
    records: Records = field(default_factory=dict)
    """The records of the Manifests of all packages that were fetched."""

    @property
    def _inner(self) -> dict[str, str]:
        """The folders for files below ``shared``, by their paths in the root, in the order in which Portage looks."""
        return {PROJECT: f"{PROJECTS}/{self.project}/", SHARED: ""}

    @property
    def variables(self) -> dict[str, str]:
        """The variables of make.conf(5) for these folders."""
        found = {"PORTAGE_RO_DISTDIRS": " ".join([*self._inner, *([FLAT_MIRROR] if self.folder else [])])}
        return {**found, "GENTOO_MIRRORS": " ".join(self.mirrors)} if self.mirrors else found

    def binds(self) -> list[Bind]:
        """Return the mounts for every command inside the root."""
        mirror = [Bind(self._flat(self.folder), FLAT_MIRROR), Bind(self.folder, MIRROR_FOLDER)] if self.folder else []
        for inner in self._inner.values():
            (self.shared / inner).mkdir(parents=True, exist_ok=True)
        shared = [Bind(self.shared / inner, place) for place, inner in self._inner.items()]
        return [Bind(self.own, DISTDIR), *shared, *mirror]

    def fetch_binds(self) -> list[Bind]:
        """Return the additional mounts of the fetch step."""
        return [Bind(self.own, DISTDIR, writable=True)]

    def share(self, manifests: Manifests) -> None:
        """Copy downloaded files that match a Manifest into the shared folder."""
        self.records.update(manifests.records())
        own = Tree(self.own, links=False)
        for name in self._files():
            if own.is_file(name):
                self._share(own, name)

    def _share(self, source: Tree, path: str) -> None:
        """Copy a file of a folder into the shared folder, unless that has it, or no Manifest describes it."""
        name = Path(path).name
        records = self.records.get(name, [])
        if not records or self._cached(name):
            return
        temporary = self.shared / f".{name}.{secrets.token_hex(4)}"
        try:
            source.copy_out(path, temporary, max(number(record["size"]) or 0 for record in records))
            if matches(temporary, records):
                self._add(temporary, name)
        except OSError as error:
            if error.filename != path:
                raise
        finally:
            temporary.unlink(missing_ok=True)

    def _cached(self, name: str) -> str | None:
        """Return the path below ``shared`` of a file that matches the Manifests, or None."""
        records = self.records.get(name, [])
        paths = (f"{inner}{name}" for inner in self._inner.values())
        return next(
            (path for path in paths if (self.shared / path).exists() and matches(self.shared / path, records)), None
        )

    def _add(self, file: Path, name: str) -> None:
        """Give a new file its name in the shared folder, or in that of the project if the name is taken."""
        try:
            os.link(file, self.shared / name)
        except FileExistsError:
            folder = self.shared / PROJECTS / self.project
            folder.mkdir(parents=True, exist_ok=True)
            file.rename(folder / name)

    def paths(self) -> list[str]:
        """Return the paths below ``shared`` of all files that the build has used so far, sorted by name."""
        found: list[str] = []
        for name in sorted(self._files()):
            target = os.readlink(self.own / name) if (self.own / name).is_symlink() else ""  # noqa: PTH115
            linked = [f"{inner}{name}" for place, inner in self._inner.items() if target == f"{place}/{name}"]
            found += linked or filter(None, [self._cached(name)])
        return found

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
