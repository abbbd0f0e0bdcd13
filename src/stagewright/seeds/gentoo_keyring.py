"""The file with Gentoo's signing keys on this computer: that of a package of Gentoo, or that of the user."""

from __future__ import annotations

import os
from pathlib import Path

from stagewright.errors import Reason, StagewrightError

KEYRING = Path("/usr/share/openpgp-keys/gentoo-release.asc")
"""Path of the keys of sec-keys/openpgp-keys-gentoo-release."""

FETCH = "run: stagewright keys fetch"


def own_keyring() -> Path:
    """Return the file into which ``stagewright keys fetch`` writes."""
    data = os.environ.get("XDG_DATA_HOME") or Path("~/.local/share").expanduser()
    return Path(data, "stagewright", "gentoo-release.asc")


def default_keyring() -> Path:
    """Return the file with Gentoo's keys: that of the user, if the system has none."""
    return KEYRING if KEYRING.is_file() or not own_keyring().is_file() else own_keyring()


def existing_keyring(file: Path | None = None) -> Path:
    """Return the keyring, by default Gentoo's. Raises ``NO_KEYS`` if it does not exist."""
    file = file or default_keyring()
    if not file.is_file():
        hint = f"{FETCH}; on Gentoo: emerge sec-keys/openpgp-keys-gentoo-release"
        raise StagewrightError(Reason.NO_KEYS, f"Gentoo's release keys not found ({file})", hint=hint)
    return file
