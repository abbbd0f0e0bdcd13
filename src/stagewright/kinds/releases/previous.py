"""The release before, whose notes the lock pins: they say what changed, and how sizes grew."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.work import Work
from stagewright.project.model import Project
from stagewright.project.names import NAME
from stagewright.release.notes import NOTES, Notes
from stagewright.release.pointer import pointer_name
from stagewright.release.release_files import open_files, read_small
from stagewright.release.signing import ReleaseSigning
from stagewright.release.verify_release import ReleaseVerifier, TrustedKeys
from stagewright.store.durable import write_atomically

LARGEST = 64 << 20
"""The largest file with notes (bytes)."""


class PreviousPin(BaseModel):
    """The entries of a pin. ``version`` is empty if there is no release before."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Annotated[str, Field(pattern=rf"^$|{NAME}")] = ""
    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""


def previous_pin(data: Mapping[str, str] | None) -> PreviousPin:
    """Return the pin in the lock. Raises: LOCK_STALE if the lock has none, or not the entries of one."""
    try:
        pin = PreviousPin.model_validate(data)
        if bool(pin.version) == bool(pin.sha256):
            return pin
    except ValidationError:
        pass
    what = "stagewright.lock: the pin of the release before is missing or wrong"
    raise StagewrightError(Reason.LOCK_STALE, what, hint="run stagewright update")


@dataclass(frozen=True)
class PreviousRelease:
    """The place of earlier versions of a release: a folder, or an address on the web. ``cache`` keeps their notes."""

    place: str
    identity: str  # project/release
    cache: Path
    keys: TrustedKeys

    def look_up(self, own_version: str, known: PreviousPin, notice: Callable[[str], None]) -> PreviousPin:
        """Return the pin of the newest version with notes, apart from this release's own version.

        Signatures are verified, but the pointer may be outdated. Raises: NOT_FOUND if the lock knows a release and the
        place has none any more.
        """
        name = pointer_name(self._release)
        with open_files(self.place) as files:
            try:
                pointer, data = ReleaseVerifier(files, self.keys).read_newest(name, NOTES, LARGEST)
            except StagewrightError as error:
                if error.reason is not Reason.NOT_FOUND or known.version:
                    raise
                notice(f"no earlier release with notes in {files.name}: the notes begin with this one")
                return PreviousPin()
            notes = Notes.parse(data, f"{pointer.version}/{NOTES}")
            if not pointer.release == notes.identity == self.identity:
                what = f"{files.name}: has another release ({pointer.release}, not {self.identity})"
                raise StagewrightError(Reason.WRONG_NAME, what, hint="correct `previous`")
            if pointer.version == own_version:
                if not notes.previous:
                    return PreviousPin()
                return self._keep(notes.previous.version, self._fetch(notes.previous.version, notes.previous.digest))
        return self._keep(pointer.version, data)

    def read(self, pin: PreviousPin) -> Notes:
        """Return the notes that the pin of a release identifies."""
        path = self._path(pin.sha256)
        data = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(data).hexdigest() != pin.sha256:
            data = self._fetch(pin.version, pin.sha256)
            self._keep(pin.version, data)
        return Notes.parse(data, f"{pin.version}/{NOTES}")

    def _fetch(self, version: str, digest: str) -> bytes:
        """Return the notes of a version. Raises: DIGEST_MISMATCH for other ones."""
        with open_files(self.place) as files:
            data = read_small(files.below(version), NOTES, LARGEST)
            if hashlib.sha256(data).hexdigest() != digest:
                what = f"{files.name}/{version}/{NOTES}: not the notes that the lock pins"
                raise StagewrightError(Reason.DIGEST_MISMATCH, what, hint=f"run stagewright update {self._release}")
        return data

    def _keep(self, version: str, data: bytes) -> PreviousPin:
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
        return PreviousPin(version=version, sha256=digest)

    @property
    def _release(self) -> str:
        return self.identity.partition("/")[2]

    def _path(self, digest: str) -> Path:
        return self.cache / digest[:32] / NOTES


def previous_release(place: str, identity: str, sign: ReleaseSigning | None, work: Work[Any]) -> PreviousRelease:
    """Return the place of earlier versions of a release. The keys that sign the release must have signed them."""
    if "://" not in place:
        place = str((work.project_folder or Path()) / Path(place).expanduser())
    keys = TrustedKeys(
        fingerprints=[sign.openpgp.key] if sign and sign.openpgp else [],
        minisign=[sign.minisign.key] if sign and sign.minisign else [],
    )
    return PreviousRelease(place, identity, work.store.cache("seeds"), keys)


def pinned(release: str, project: Project) -> dict[str, str] | None:
    """Return the entries of the lock that identify the release before; None if the lock has no pin."""
    known = project.lock.releases.get(release)
    return None if known is None else {name: str(known.get(name, "")) for name in PreviousPin.model_fields}
