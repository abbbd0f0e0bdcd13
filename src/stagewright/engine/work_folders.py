"""Work folders of nodes that have ended: each is removed, or kept for ``stagewright shell``.

A folder can have hundreds of thousands of files. So a thread removes those that no one needs, while the scheduler
starts the next nodes.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from pathlib import Path

from stagewright.events import Status
from stagewright.store.store import Store, not_removed
from stagewright.trees import remove_tree

Release = Callable[[], object]
"""Releases the lock of a key, which keeps other runs from the work folder."""


class WorkFolders:
    """The work folders of one run. :meth:`finish` waits for the thread; a run that was stopped does not call it.

    ``notices`` are pairs of a node and a text for the user, in the order in which the folders were removed.
    """

    def __init__(self, store: Store, project: str) -> None:
        self._store = store
        self._project = project
        self._waiting: queue.SimpleQueue[tuple[str, Path, Release] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.notices: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()

    def put_away(
        self, name: str, folder: Path, status: Status, release: Release, *, full: bool, has_root: bool = True
    ) -> None:
        """Remove a work folder and an earlier kept one, or keep this one; then release the lock.

        The folder of a node that failed because of a full disk is removed, so that the others can go on. One without
        a root is of no use to ``stagewright shell``.
        """
        if status is Status.BUILT or not has_root:
            self._waiting.put((name, folder, release))
            if not self._thread:
                self._thread = threading.Thread(target=self._work, name="work folders", daemon=True)
                self._thread.start()
            return
        with contextlib.ExitStack() as end:
            end.callback(release)
            try:
                notice = self._keep(name, folder, full=full)
            except OSError as error:  # the next run tries to remove what stays
                notice = not_removed(folder, error)
        self._note(name, notice)

    def finish(self) -> None:
        """Wait until everything is removed."""
        if self._thread:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (entry := self._waiting.get()) is not None:
            name, folder, release = entry
            try:
                notice = self._remove(name, folder)
            except OSError as error:  # the next run tries to remove what stays
                notice = not_removed(folder, error)
            finally:
                release()
            self._note(name, notice)

    def _note(self, name: str, notice: str) -> None:
        if notice:
            self.notices.put((name, notice))

    def _remove(self, name: str, folder: Path) -> str:
        """Remove a folder of a node that was built, and the kept one of an earlier failure. Return a notice, or ""."""
        remove_tree(folder)
        if self._store.discard_failed(self._project, name):
            return ""
        return "a shell is open in the root of a failed build, which stays"

    def _keep(self, name: str, folder: Path, *, full: bool) -> str:
        """Keep the folder of a node that failed, if there is room. Return a notice, or an empty string."""
        if full:
            remove_tree(folder)
            return "its root is not kept, because the disk needs the space"
        if self._store.keep_failed(folder, self._project, name):
            return ""
        return "its root is not kept, because a shell is open in the root of an earlier failed build"
