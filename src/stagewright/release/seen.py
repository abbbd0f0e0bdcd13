"""The newest version of each release that this user has verified, so that an older one is noticed.

A mirror that serves an old ``latest-<name>.txt`` with its good signature would keep users at an old version. The same
key can sign releases of several projects, so the release at an address on the web must stay the same, too. The state is
a JSON file::

    releases     date, version and digest of ``SHA256SUMS``, by project and release
    addresses    project and release, by the address of the pointer
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
from stagewright.store.durable import write_atomically
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

    def check(self, pointer: Pointer, name: str, address: str = "") -> None:
        """Check that a version is not older than the newest one of its release. Raises: REPLAYED if it is older.

        ``address`` is that of the pointer on the web. Raises: WRONG_NAME if it had another release before.
        """
        releases, addresses = self._read()
        if (former := addresses.get(address, pointer.release)) != pointer.release:
            what = f"{name}: release {pointer.release!r}, but {former!r} was at this address before"
            hint = f"ask the publisher; to accept it, edit {self.file}"
            raise StagewrightError(Reason.WRONG_NAME, what, hint=hint)

        known = releases.get(pointer.release)
        if known and seen_of(pointer).order < known.order:
            what = f"{name}: older than a version that was verified before ({pointer.version}, after {known.version})"
            hint = f"the mirror may hold back updates: try another one; to accept the old version, edit {self.file}"
            raise StagewrightError(Reason.REPLAYED, what, hint=hint)

        if known and seen_of(pointer).order == known.order and pointer.sums != known.sums:
            what = f"{name}: version {pointer.version} was verified before with other content"
            hint = f"ask the publisher which is right; to accept the new content, edit {self.file}"
            raise StagewrightError(Reason.REPLAYED, what, hint=hint)

    def remember(self, pointer: Pointer, address: str = "") -> None:
        """Write a version that was verified, unless a newer one is known, and the address of its pointer."""
        with locked(self.file.with_name(f"{self.file.name}.lock")):
            known, addresses = self._read()
            former, own = known.get(pointer.release), {address: pointer.release} if address else {}
            is_new = not former or former.order < seen_of(pointer).order
            if not is_new and addresses | own == addresses:
                return
            if is_new:
                known[pointer.release] = seen_of(pointer)
            releases = {name: asdict(one) for name, one in sorted(known.items())}
            data = {"releases": releases, "addresses": dict(sorted((addresses | own).items()))}
            write_atomically(self.file, json.dumps(data, indent=1) + "\n")

    def _read(self) -> tuple[dict[str, Seen], dict[str, str]]:
        """Return the known versions by release, and the releases by address."""
        try:
            data = json.loads(self.file.read_text(encoding="utf-8"))
            known = data["releases"].items()
            releases = {name: Seen(int(one["time"]), str(one["version"]), str(one["sums"])) for name, one in known}
            return releases, {str(address): str(name) for address, name in data["addresses"].items()}
        except FileNotFoundError:
            return {}, {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"{self.file}: not a list of releases that were verified"
            raise StagewrightError(Reason.FORMAT, what, hint=f"rm {self.file}") from error
