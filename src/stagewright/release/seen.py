"""The newest version of each release that this user has verified, so that an older one is noticed.

A mirror that serves an old ``latest-<name>.txt`` with its good signature would keep users at an old version. The state
is a JSON file: date, version and digest of ``SHA256SUMS``, by project and release.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stagewright.errors import Reason, StagewrightError
from stagewright.release.pointer import Pointer
from stagewright.store.links import locked


def default_state() -> Path:
    """Return the state file of this user (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "stagewright" / "releases.json"


@dataclass(frozen=True)
class Seen:
    """A version of a release: its date (seconds since 1970), and the digest of its list of digests."""

    time: int
    version: str
    sums: str

    @property
    def order(self) -> tuple[Any, ...]:
        """Key for sorting: the date, then the version by its numbers."""
        return self.time, version_order(self.version)


def version_order(version: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts versions by their numbers: ``1.9`` before ``1.10``."""
    parts = re.findall(r"\d{1,64}|\D+|\d+", version)
    return [(1, int(part), "") if re.fullmatch(r"\d{1,64}", part) else (0, 0, part) for part in parts]


def seen_of(pointer: Pointer) -> Seen:
    """Return the version that a pointer names."""
    return Seen(pointer.time, pointer.version, pointer.sums)


@dataclass(frozen=True)
class SeenReleases:
    """The state, in a file that may not exist yet."""

    file: Path

    def check(self, pointer: Pointer, name: str) -> None:
        """Check that a version is not older than the newest one of its release. Raises: REPLAYED if it is older."""
        known = self._read().get(pointer.release)
        if known and seen_of(pointer).order < known.order:
            what = f"{name}: older than a version that was verified before ({pointer.version}, after {known.version})"
            hint = f"the mirror may hold back updates: try another one; to accept the old version, edit {self.file}"
            raise StagewrightError(Reason.REPLAYED, what, hint=hint)

        if known and seen_of(pointer).order == known.order and pointer.sums != known.sums:
            what = f"{name}: version {pointer.version} was verified before with other content"
            hint = f"ask the publisher which is right; to accept the new content, edit {self.file}"
            raise StagewrightError(Reason.REPLAYED, what, hint=hint)

    def remember(self, pointer: Pointer) -> None:
        """Write a version that was verified, unless a newer one is known."""
        with locked(self.file.with_name(f"{self.file.name}.lock")):
            known = self._read()
            former = known.get(pointer.release)
            if former and former.order >= seen_of(pointer).order:
                return
            known[pointer.release] = seen_of(pointer)
            temporary = self.file.with_name(f"{self.file.name}.new")
            data = {name: asdict(one) for name, one in sorted(known.items())}
            temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
            temporary.replace(self.file)

    def _read(self) -> dict[str, Seen]:
        try:
            data = json.loads(self.file.read_text(encoding="utf-8"))
            return {name: Seen(int(one["time"]), str(one["version"]), str(one["sums"])) for name, one in data.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"{self.file}: not a list of releases that were verified"
            raise StagewrightError(Reason.FORMAT, what, hint=f"rm {self.file}") from error
