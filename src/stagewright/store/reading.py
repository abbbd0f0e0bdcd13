"""A store that is only read: for commands that look at a project, and for users who cannot write to the store.

Nothing is created, and a store that does not exist is empty. Layers and the history of a store are closed to other
users (``CLOSED`` in store.py): they count as missing. Artifacts and logs can be read by every user.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.keys import KeyData
from stagewright.graph.node import Yields
from stagewright.permissions import nearest_visible, other_owner
from stagewright.store.store import FORMAT, Store


class ReadOnlyStore(Store):
    """A store on disk, of any user, that this process does not change. Raises: STORE_FORMAT for an unknown layout.

    Facts that are slow to find are remembered if the store belongs to this user.
    """

    def _open(self) -> None:
        try:
            found = (self.path / "format").read_text(encoding="utf-8").strip()
        except NotADirectoryError:  # a file is in the way
            raise
        except OSError:  # missing, or closed to this user: everything counts as missing
            return
        if found != FORMAT:
            raise self.unsupported(found)

    def memory(self, name: str) -> Path | None:
        """Return the file of remembered facts, or None if it is not this user's."""
        folder = self.path / "cache"
        try:
            own = folder.stat().st_uid == os.geteuid() and os.access(folder, os.W_OK)
        except OSError:
            return None
        return folder / name if own else None

    @property
    def closed_by(self) -> str:
        """The one user that can read the roots and the history of the store; "" if this user can."""
        folder = self.path / "history"
        try:
            folder.stat()
        except PermissionError:
            return other_owner(nearest_visible(folder)) or "its owner"
        except OSError:  # there is no store
            return ""
        return "" if os.access(folder, os.R_OK | os.X_OK) else other_owner(folder) or "its owner"

    def hint_if_missing(self, yields: Yields, hint: str) -> str:
        """Return the hint for a result that is missing in the store, as far as this user sees."""
        owner, folder = self.closed_by, self.path / yields.folder
        if owner and not os.access(folder, os.R_OK | os.X_OK):
            return f"{folder} is closed to other users: run as {owner}, or use --store FOLDER"
        return hint

    def has(self, yields: Yields, key: str) -> bool:
        """Return True if the result with this key is complete and can be used by this user."""
        with contextlib.suppress(PermissionError):
            return super().has(yields, key)
        return False

    def last_key_data(self, project: str, node: str) -> KeyData | None:
        """Return the key data of the last build of a node; None if it was never built, or is closed to this user."""
        with contextlib.suppress(PermissionError):
            return super().last_key_data(project, node)
        return None

    def former(self, project: str, node: str) -> list[str]:
        """Return the digests of the last different keys of a node, newest last."""
        with contextlib.suppress(PermissionError):
            return super().former(project, node)
        return []

    @contextlib.contextmanager
    def locked(self, key: str) -> Iterator[bool]:
        """Raise ``NOT_ROOT``: a lock is the beginning of a change."""
        what = f"cannot write to the store {self.path}, which is opened for reading (lock {key[:12]})"
        raise StagewrightError(Reason.NOT_ROOT, what, hint="run as its owner, or use --store FOLDER")
        yield False
