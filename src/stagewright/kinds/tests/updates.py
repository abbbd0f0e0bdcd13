"""updates: update a system with two slots from the version of one disk image to that of another.

Inputs: two disk images. The test starts the first one, serves a feed of the second one over HTTP, and lets the system
update itself and reboot. The feed is signed by a key that exists for the test only. Settings let the power fail in
between, change the feed, or break the new version. The guest is in a network namespace without other networks.
"""

from __future__ import annotations

import enum
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event, FileProgress, FileServed
from stagewright.kinds.artifacts.update_feed import FEED_TOOLS, raw_disk
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import MachineContext
from stagewright.kinds.common.guest import MachineTest
from stagewright.kinds.common.tools import GNUPG, IPROUTE, SANDBOX
from stagewright.kinds.common.update_settings import UpdateSettings
from stagewright.kinds.common.work import Work
from stagewright.kinds.media.diskimage_stage1 import DiskImage1
from stagewright.kinds.tests.boots import Attach, image_of
from stagewright.media.uki import append_argument
from stagewright.media.updates.feed import (
    SUMS,
    FeedCompression,
    SlotImage,
    read_slot,
    write_feed,
    write_sums,
)
from stagewright.media.updates.temporary_key import sign_lists
from stagewright.netboot.boot_commands import GATEWAY
from stagewright.netboot.lan import loopback
from stagewright.netboot.serve import FileServer
from stagewright.netboot.service import LOOPBACK
from stagewright.project.fields import ByValue, DiskRef, NodeRef, marked
from stagewright.project.model import Project
from stagewright.project.source import KeyPath
from stagewright.store.links import link
from stagewright.testing.perform import Hold
from stagewright.testing.results import Report
from stagewright.testing.updating import UpdateRun

REQUESTS = "requests.jsonl"
"""Requests of the machine and answers of the server, one event per line."""

GOOD = "good"


class Broken(enum.StrEnum):
    """Faults of a new version: its kernel panics, its root is damaged, or its target is never reached."""

    KERNEL = "kernel"
    ROOT = "root"
    TARGET = "target"

    @property
    def argument(self) -> str:
        """A kernel argument that breaks the version, or ""."""
        never_good = "systemd.mask=multi-user.target stagewright.update.bless=no"
        return {"kernel": "rdinit=/missing", "target": never_good}.get(self.value, "")


class Change(enum.StrEnum):
    """Changes to a feed that need no secret key of the project."""

    CONTENT = "content"
    SUMS = "sums"
    KEY = "key"
    UNSIGNED = "unsigned"
    OLDER = "older"


class UpdateContext(MachineContext):
    """Context of a test of updates."""

    compression: FeedCompression
    """The compression of partitions that the system expects."""


class UpdateTest(MachineTest, kind="updates", table="tests"):
    """A test with ``updates``."""

    required_tools = (IPROUTE, GNUPG, SANDBOX, *FEED_TOOLS)
    own_network = True
    private_ids = False
    context_model: ClassVar[type[MachineContext]] = UpdateContext

    updates: Annotated[list[DiskRef], Field(min_length=2, max_length=2)]
    """The disk image to start, and the one with the new version."""
    cuts: list[Annotated[float, Field(gt=0, le=1)]] = []
    """Moments of power failures: parts of the download, such as 0.5. After each, the system must start. Later ones are
    left out if the new version starts."""
    changed: list[Annotated[Change, ByValue()]] = []
    """Changed feeds that the system must refuse: `content` (a file differs from its digest), `sums` (so does the list),
    `key` (signed by another key), `unsigned`, `older` (an older version, signed)."""
    broken: Annotated[Broken, ByValue()] | None = None
    """Break the new version: `kernel` (it panics), `root` (its partition is damaged) or `target` (never reached). The
    old version must come back by itself."""

    @model_validator(mode="after")
    def _logs_in(self) -> UpdateTest:
        if self.login is None:
            raise PydanticCustomError("login", "`updates` needs a login as root", {"hint": 'add login.user = "root"'})
        return self

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check that the system of the first image updates itself."""
        yield from super().check(project)
        if project.entry(self.updates[0]) and _settings(project, self.updates[0]) is None:
            message = f"updates: the system of {self.updates[0]!r} does not update itself"
            hint = "add `updates` to its diskimage-stage1"
            yield ("updates", 0), StagewrightError(Reason.INVALID_VALUE, message, hint=hint)

    def node_context(self, node_id: str, scope: Scope) -> UpdateContext:
        """Return the architecture, and the compression that the system expects."""
        settings = _settings(scope.project, self.updates[0])
        compression = settings.compression if settings else FeedCompression.XZ
        return UpdateContext(**dict(super().node_context(node_id, scope)), compression=compression)

    def run(self, work: Work[UpdateContext], folder: Path, hold: Hold | None = None) -> Report:
        """Make the feeds, serve them, start the old version and update it."""
        work.phase("make the feed")
        old = read_slot(raw_disk(work.artifact("updates.000"), work.new_folder("old")), work.folder / "old")
        feeds = self._feeds(work, old)
        loopback()
        try:
            with FileServer(feeds.site, LOOPBACK, 0, feeds.note) as server:
                feeds.port = server.port
                return self._start(work, folder, hold, self._update(feeds, old))
        finally:
            (folder / REQUESTS).write_text("".join(f"{event.to_json()}\n" for event in feeds.events), encoding="utf-8")

    def _update(self, feeds: Feeds, old: SlotImage) -> UpdateRun:
        return UpdateRun(
            feed=feeds,
            name=old.name,
            old=old.version,
            new=feeds.version,
            changed=tuple(self.changed),
            older=(Change.OLDER,),
            cuts=tuple(self.cuts),
            broken=self.broken is not None,
        )

    def _start(self, work: Work[UpdateContext], folder: Path, hold: Hold | None, update: UpdateRun) -> Report:
        machine = Attach.DISK.machine(
            image_of(work.artifact("updates.000")),
            memory=self.memory,
            cpus=self.cpus,
            firmware=self.firmware,
            arch=work.context.arch,
            variables=work.files[self.variables] if self.variables else None,
        )
        run = self.boot_run(replace(machine, network="user"), work, folder, hold)
        return replace(run, script=replace(run.script, action=update.perform)).run()

    def _feeds(self, work: Work[UpdateContext], old: SlotImage) -> Feeds:
        """Make the feed of the new version and the changed ones, and sign them."""
        scratch = work.new_folder("new")
        disk = raw_disk(work.artifact("updates.001"), scratch, private=True)
        new = read_slot(disk, scratch)
        if (new.name, new.version) == (old.name, old.version) or new.name != old.name:
            found = f"{old.name} {old.version} and {new.name} {new.version}"
            hint = "give the systems the same IMAGE_ID and another IMAGE_VERSION"
            raise StagewrightError(
                Reason.INVALID_VALUE, f"updates: not two versions of one system ({found})", hint=hint
            )
        if self.broken:
            _break(self.broken, new, disk)
        feeds = Feeds(work.new_folder("feeds"), scratch / "keyring.gpg", new.version)
        good = feeds.site / GOOD
        good.mkdir()
        write_feed(new, disk, good, work.context.compression, epoch=work.epoch, log=work.log)
        for change in self.changed:
            _change(change, good, feeds.site / change, new, work.epoch)
        signed = [name for name in (GOOD, *self.changed) if name != Change.UNSIGNED]
        sign_lists(feeds.site, signed, feeds.keyring, foreign=[Change.KEY], work=work.new_folder("signing"))
        if Change.SUMS in self.changed:
            shutil.copyfile(good / f"{SUMS}.gpg", feeds.site / Change.SUMS / f"{SUMS}.gpg")
        return feeds


@dataclass
class Feeds:
    """The feeds of a test, in folders of ``site`` by name, and what was downloaded."""

    site: Path
    keyring: Path
    version: str
    port: int = 0

    def __post_init__(self) -> None:
        self.events: list[Event] = []
        self._done: dict[str, int] = {}

    def note(self, event: Event) -> None:
        """Note a request, or the progress of one."""
        self.events.append(event)
        if isinstance(event, FileProgress):
            self._done[event.path] = event.done
        elif isinstance(event, FileServed) and event.method == "GET" and event.status == 200:
            self._done[event.path] = event.size

    def url(self, name: str) -> str:
        """Return the address of a feed for the guest."""
        return f"http://{GATEWAY}:{self.port}/{name}/"

    def restart(self) -> None:
        """Forget what was downloaded."""
        self._done.clear()

    def fraction(self) -> float:
        """Return the downloaded part of the good feed since the last restart, from 0 to 1."""
        sizes = {f"/{GOOD}/{path.name}": path.stat().st_size for path in (self.site / GOOD).iterdir()}
        names = [name for name in sizes if SUMS not in name]
        return sum(self._done.get(name, 0) for name in names) / sum(sizes[name] for name in names)


def _break(how: Broken, slot: SlotImage, disk: Path) -> None:
    """Break the version of a slot, in its kernel image or on the disk that the feed is made of."""
    if how.argument:
        append_argument(slot.kernel, how.argument)
        return
    data = next(part for part in slot.partitions if not part.role.endswith("-verity"))
    with disk.open("r+b") as stream:
        stream.seek(data.start)
        stream.write(bytes(1 << 16))


def _change(how: Change, good: Path, target: Path, slot: SlotImage, epoch: int) -> None:
    """Make a changed feed next to the good one. Signatures are made later."""
    target.mkdir()
    for path in good.iterdir():
        link(path, target / path.name)
    kernel = target / f"{slot.name}_{slot.version}.efi"
    if how in (Change.CONTENT, Change.SUMS):
        data = bytearray(kernel.read_bytes())
        data[len(data) // 2] ^= 1
        kernel.unlink()
        kernel.write_bytes(data)
    if how is Change.SUMS:
        (target / SUMS).unlink()
        write_sums(target, epoch)
    if how is Change.OLDER:
        for path in list(target.iterdir()):
            if path.name.startswith(f"{slot.name}_{slot.version}"):
                path.rename(path.with_name(path.name.replace(f"_{slot.version}", "_0", 1)))
        (target / SUMS).unlink()
        write_sums(target, epoch)


def _settings(project: Project, name: str) -> UpdateSettings | None:
    """Return the settings of updates of a stage, or of the stages below it."""
    entry = project.entry(name)
    if entry is None or entry.table != "stages":
        return None
    if isinstance(entry.model, DiskImage1) and entry.model.updates:
        return entry.model.updates
    below: Iterator[Any] = (_settings(project, value) for _, _, value in marked(entry.model, NodeRef))
    return next(filter(None, below), None)
