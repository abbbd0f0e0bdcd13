"""Publishing a release to a target, so that users never see a half one.

1. The files are uploaded to a hidden folder, ``.<version>.partial``, and each is verified by reading it back. An upload
   that was cut goes on there.
2. The folder gets its name by a rename. Object stores cannot rename: the lists of digests and signatures are written
   last there.
3. The pointer ``latest-<name>.txt`` is written with its signatures, then the link ``latest`` and the pages.
4. Versions that no rule keeps are renamed to ``.<version>.removed``, and removed. In object stores, an object of this
   name says that a removal has begun.

A published version never changes: another content under the same version is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from stagewright.errors import Reason, StagewrightError
from stagewright.events import Listener, NodeNotice, NodeProgress
from stagewright.publish.attempts import Attempts, Retries
from stagewright.publish.target import Target
from stagewright.release.channel import check_distributable
from stagewright.release.keep import DatedVersion, Keep
from stagewright.release.manifest import SUFFIX as MANIFEST
from stagewright.release.manifest import read_manifest
from stagewright.release.release_folder import DESCRIPTION, LATEST, LISTS, SUMS, Description, read_sums, sizes_of
from stagewright.release.signing import MINISIGN_KEY, PUBLIC_KEY
from stagewright.untrusted import TEXT_LIMIT

T = TypeVar("T")

Pages = Callable[[Sequence[Description]], Mapping[str, str]]
"""Returns the texts of pages by name, for all versions, newest first."""


@dataclass(frozen=True)
class LocalRelease:
    """A release that was built: the folder with the pointer and the folder of the version."""

    folder: Path
    description: Description

    @classmethod
    def read(cls, folder: Path) -> LocalRelease:
        """Read a release that was built. Raises: NOT_DISTRIBUTABLE if others must not get it, NOT_FOUND."""
        found = sorted(folder.glob(f"*/{DESCRIPTION}"))
        if len(found) != 1:
            raise StagewrightError(Reason.NOT_FOUND, f"{folder}: not the folder of a release")
        description = Description.parse(found[0].read_bytes())
        check_distributable({"channel": description.channel}, f"{description.identity} {description.version}")
        for manifest in sorted(found[0].parent.rglob(f"*.{MANIFEST}")):
            check_distributable(read_manifest(manifest), manifest.name)
        return cls(folder, description)

    @property
    def version(self) -> str:
        """The version."""
        return self.description.version

    def files(self) -> dict[str, str]:
        """Return the SHA256 of all files of the version by path, in the order of uploads: the lists come last."""
        folder = self.folder / self.version
        sums = read_sums((folder / SUMS).read_text(encoding="utf-8"))
        small = [name for name in sizes_of(folder) if name not in sums]
        digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in small}
        last = sorted(small, key=lambda name: (name.startswith(SUMS), name == SUMS))
        return {**sums, **{name: digests[name] for name in last}}

    def pointers(self) -> list[str]:
        """Return the names of the pointer, its signatures and the public keys; the pointer is last."""
        names = [path.name for path in self.folder.iterdir() if path.is_file()]
        return sorted(names, key=lambda name: (name not in (PUBLIC_KEY, MINISIGN_KEY), name.endswith(".txt"), name))


@dataclass(frozen=True)
class Published:
    """The result: files and bytes that were uploaded, and the versions that were removed."""

    target: str
    version: str
    uploaded: int
    bytes: int
    removed: Sequence[str] = ()
    dry_run: bool = False


@dataclass
class Publisher:
    """Publishes one release to one target. ``emit`` gets progress and notices."""

    release: LocalRelease
    target: Target
    emit: Listener
    keep: Keep = field(default_factory=Keep)
    pages: Pages = lambda _: {}
    retries: Retries = field(default_factory=Retries)

    def publish(self, *, dry_run: bool = False) -> Published:
        """Publish the release. Raises: DUPLICATE_NAME if the version exists with other content, else the failure."""
        version = self.release.version
        names = self._try("list", self.target.entries)
        doomed = set() if self.target.renames else _doomed(names)
        known = self._versions([name for name in names if name not in doomed])
        if version in known:
            self._check_same(version)
        elif version in names and version not in doomed:
            self._check_ours(version)
        if not dry_run:
            self._clean(names)
        missing = {} if version in known else self._missing()
        folder = self.release.folder / version
        size = sum((folder / name).stat().st_size for name in missing)
        versions = sorted({**known, version: self.release.description}.values(), key=_order, reverse=True)
        removed = [one.version for one in self.keep.removed([_dated(one) for one in versions])]
        removed = [one for one in removed if one != version]
        result = Published(self.target.name, version, len(missing), size, removed, dry_run)
        if dry_run:
            return result
        if version not in known:
            self._upload(missing)
        self._point([one for one in versions if one.version not in removed])
        for one in removed:
            self._remove(one)
        return result

    # looking

    def _versions(self, names: Sequence[str]) -> dict[str, Description]:
        """Return the published versions of this release, among the names in the target."""
        found = {}
        for name in names:
            if name.startswith(".") or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name) or name == LATEST:
                continue
            description = self._describe(name)
            if description and description.version == name and description.identity == self._identity:
                found[name] = description
        return found

    @property
    def _identity(self) -> str:
        return self.release.description.identity

    def _describe(self, name: str) -> Description | None:
        """Return the description of a published version; None if the folder is not a whole version."""
        try:
            data = self._read_if_there(f"{name}/{DESCRIPTION}")
            if data is None or self._read_if_there(f"{name}/{SUMS}") is None:
                return None
            return Description.parse(data)
        except StagewrightError as error:
            if error.reason is not Reason.FORMAT:
                raise
            return None

    def _read(self, path: str) -> bytes:
        data = bytearray()
        for chunk in self.target.read(path):
            data += chunk
            if len(data) > TEXT_LIMIT:
                raise StagewrightError(Reason.FORMAT, f"{path}: too large")
        return bytes(data)

    def _check_same(self, version: str) -> None:
        """Check that the published version is this one."""
        ours = (self.release.folder / version / SUMS).read_bytes()
        if self._try(f"read {version}", lambda: self._read(f"{version}/{SUMS}")) != ours:
            what = f"{version}: published at {self.target.name} already, with other content"
            raise StagewrightError(Reason.DUPLICATE_NAME, what, hint="raise `version` in [project]")

    def _check_ours(self, version: str) -> None:
        """Check what has the name of the version but is not a whole version. Object stores have cut uploads there.

        Raises: DUPLICATE_NAME for another release, or a folder that is not whole.
        """
        if not self.target.renames:
            ours = (self.release.folder / version / DESCRIPTION).read_bytes()
            if self._read_if_there(f"{version}/{DESCRIPTION}") in (None, ours):
                return
        what = f"{version}: {self.target.name} has something else of this name"
        hint = "give each release its own target, raise `version` in [project], or remove it there"
        raise StagewrightError(Reason.DUPLICATE_NAME, what, hint=hint)

    def _read_if_there(self, path: str) -> bytes | None:
        try:
            return self._try(f"read {path}", lambda: self._read(path))
        except (StagewrightError, NotADirectoryError) as error:
            if isinstance(error, StagewrightError) and error.reason is not Reason.NOT_FOUND:
                raise
            return None

    def _missing(self) -> dict[str, str]:
        """Return the files to upload, with their SHA256. Files of an upload that was cut are verified and kept."""
        files = self.release.files()
        there = self._try("list", lambda: self.target.sizes(self._staging))
        folder = self.release.folder / self.release.version
        whole = [name for name in files if there.get(name) == (folder / name).stat().st_size]
        found = self._digests(self._staging, whole)
        kept = {name for name in whole if found.get(name) == files[name]}
        if kept:
            self._notice(f"{len(kept)} files of an upload that was cut are kept")
        return {name: digest for name, digest in files.items() if name not in kept}

    # changing

    @property
    def _staging(self) -> str:
        version = self.release.version
        return f".{version}.partial" if self.target.renames else version

    def _upload(self, missing: Mapping[str, str]) -> None:
        """Upload files and verify each, and give the folder its name."""
        names = list(missing)
        for start in range(0, len(names), self.target.batch):
            group = names[start : start + self.target.batch]
            self._put({name: missing[name] for name in group})
            done = start + len(group)
            self.emit(NodeProgress(node=self.target.name, done=done, total=len(names), name=group[-1]))
        wanted = self.release.files()
        for name in self._try("list", lambda: self.target.sizes(self._staging)):
            if name not in wanted:
                self._try(f"remove {name}", partial(self.target.remove, f"{self._staging}/{name}"))
        if self.target.renames:
            self._try("rename", self._rename)
        self._check_same(self.release.version)

    def _rename(self) -> None:
        """Rename the folder, unless an attempt whose answer was lost has done so."""
        if self.release.version not in self.target.entries():
            self.target.rename(self._staging, self.release.version)

    def _put(self, wanted: Mapping[str, str]) -> None:
        """Upload files and verify each by reading it back; once more if it differs."""
        folder, bad = self.release.folder / self.release.version, list(wanted)
        for _ in range(2):
            self._try(f"upload {bad[0]}", partial(self.target.put, self._staging, folder, bad))
            found = self._digests(self._staging, bad)
            bad = [name for name in bad if found.get(name) != wanted[name]]
            if not bad:
                return
            for name in bad:
                self._notice(f"{name} was uploaded with errors: once more")
                self._try(f"remove {name}", partial(self.target.remove, f"{self._staging}/{name}"))
        what = f"{', '.join(bad)}: differs after the upload to {self.target.name}"
        hint = "stagewright verify --unsigned on the folder in out/; if that is good, the target's disk is not"
        raise StagewrightError(Reason.DIGEST_MISMATCH, what, hint=hint)

    def _digests(self, folder: str, names: Sequence[str]) -> Mapping[str, str]:
        return self._try("verify", lambda: self.target.digests(folder, names)) if names else {}

    def _point(self, versions: Sequence[Description]) -> None:
        """Write the pointer, if this release is the newest one, then the link and the pages."""
        if versions[0].version == self.release.version:
            self._write({name: (self.release.folder / name).read_bytes() for name in self.release.pointers()})
            self._try("link", lambda: self.target.link(LATEST, self.release.version))
        else:
            self._notice(f"{versions[0].version} stays the newest version at {self.target.name}")
        self._write({name: text.encode() for name, text in self.pages(versions).items()})

    def _write(self, files: Mapping[str, bytes]) -> None:
        """Write small files in their order, and verify them."""
        for name, data in files.items():
            self._try(f"write {name}", partial(self.target.write, name, data))
        found = self._digests("", list(files))
        for name, data in files.items():
            if found.get(name) != hashlib.sha256(data).hexdigest():
                what = f"{name}: differs after the upload to {self.target.name}"
                raise StagewrightError(Reason.DIGEST_MISMATCH, what)

    def _remove(self, version: str) -> None:
        """Remove a version: first from the sight of users, then its files."""
        hidden = _hidden(version)
        if self.target.renames:
            self._try(f"hide {version}", lambda: self.target.rename(version, hidden))
        else:
            self._try(f"hide {version}", lambda: self.target.write(hidden, b""))
        self._clean([hidden])

    def _clean(self, names: Sequence[str]) -> None:
        """Remove what is left of versions whose removal has begun, maybe in an earlier run that was cut."""
        for version in sorted(_doomed(names)):
            paths = [] if self.target.renames else [*(f"{version}/{name}" for name in LISTS[::-1]), version]
            for path in [*paths, _hidden(version)]:
                self._try(f"remove {version}", partial(self.target.remove, path))

    # failures

    def _try(self, what: str, action: Callable[[], T]) -> T:
        """Return the result of an operation. Failures of the network are reported, and the operation is repeated."""
        return Attempts(self.target.name, self.emit, self.retries, self.target.reopen)(what, action)

    def _notice(self, text: str) -> None:
        self.emit(NodeNotice(node=self.target.name, text=text))


def _hidden(version: str) -> str:
    """Return the name that says that the removal of a version has begun."""
    return f".{version}.removed"


def _doomed(names: Sequence[str]) -> set[str]:
    """Return the versions whose removal has begun, by the names in a target."""
    return {found[1] for name in names if (found := re.fullmatch(r"\.(.+)\.removed", name))}


def _dated(description: Description) -> DatedVersion:
    return DatedVersion(description.version, description.date)


def _order(description: Description) -> tuple[int, list[tuple[int, int, str]]]:
    return _dated(description).order()
