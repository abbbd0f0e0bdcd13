"""The context of a release: what its kind gives to the worker besides the files."""

from __future__ import annotations

from stagewright.kinds.common.context import ReleasedContext
from stagewright.kinds.releases.bill import BillInput
from stagewright.kinds.releases.noted import NotesContext
from stagewright.release.channel import ChannelRules
from stagewright.release.provenance import Origins


class ReleaseContext(ReleasedContext):
    """Context of a release: its name, and the place of each artifact in it.

    ``files`` has the main file of each artifact, by role; "" for a folder. ``stages`` has the names of the artifacts.
    """

    release: str
    stages: dict[str, str]
    files: dict[str, str]
    bills: dict[str, tuple[BillInput, ...]] = {}
    """The bills of the ingredients of each artifact, by the role of the artifact."""
    libraries: dict[str, str] = {}
    """Versions of the libraries that write documents, by name."""
    channel: ChannelRules | None = None
    origins: Origins = Origins()
    notes: NotesContext = NotesContext()
    previous: dict[str, str] | None = None
    """The pin of the release before; None if the lock has no pin."""

    @property
    def version(self) -> str:
        """The version of the project. It has a mark if others must not get the release."""
        return self.project.version + (self.channel.file_mark if self.channel else "")
