"""Settings of systems that update themselves, and the files that these systems get."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

from stagewright.kinds.common.context import StageContext
from stagewright.kinds.common.work import Work
from stagewright.media.updates.feed import SYSTEM_NAME, SYSTEM_VERSION, FeedCompression
from stagewright.media.updates.keyring import binary_keyring
from stagewright.media.updates.transfers import (
    DEADLINE,
    DEFINITIONS,
    KEYRING,
    PROGRAMS,
    UNITS,
    Feed,
    deadline_units,
    definitions,
)
from stagewright.project.amounts import SECONDS
from stagewright.project.fields import ByValue, FilePath, Matching, Section
from stagewright.root import files
from stagewright.root.requirements import MissingRequirement
from stagewright.root.root import Root

ID, VERSION = "IMAGE_ID", "IMAGE_VERSION"
"""Entries of os-release(5) with the name and the version of the system."""

TIMERS = ("systemd-sysupdate.timer", "systemd-sysupdate-reboot.timer")
"""Units of systemd that update and reboot."""


class UpdateSettings(Section):
    """Settings of a system of two slots that updates itself by systemd-sysupdate."""

    url: Annotated[str, Matching(r"https?://[^\s\"\\]+", "an address with http:// or https://")]
    """The address of the folder with the feed."""
    key: FilePath
    """A file with the OpenPGP public keys that may sign updates."""
    slot: Literal["root", "usr"] = "root"
    """The partition that is replaced: `root` or `usr`."""
    compression: Annotated[FeedCompression, ByValue()] = FeedCompression.XZ
    """The compression of the feed's partitions, as in its update-feed stage."""
    deadline: Annotated[int, Field(ge=30, le=86400), SECONDS] = 300
    """Seconds from the start of the kernel's init until a new version must have reached boot-complete.target. After
    this time the machine reboots."""
    automatic: bool = False
    """Enable the timers of systemd that update each day and reboot at night."""

    def timers(self) -> tuple[str, ...]:
        """Return the units to enable."""
        return TIMERS if self.automatic else ()


def missing_for_updates(os_release: Mapping[str, str], root: Root) -> Iterator[MissingRequirement]:
    """Yield what a system lacks to update itself: programs, and its name and version in os-release(5)."""
    for path, package in PROGRAMS.items():
        if not files.exists(root.path, path):
            yield MissingRequirement(f"updates: {path} not found in the root", f"add {package}")
    for name, pattern in ((ID, SYSTEM_NAME), (VERSION, SYSTEM_VERSION)):
        value = os_release.get(name, "")
        if not re.fullmatch(pattern, value):
            hint = f'write os_release = {{ {ID} = "fleet", {VERSION} = "{{version}}" }}'
            yield MissingRequirement(f"updates: os_release has no valid {name} (found {value!r})", hint)


def add_update_files(settings: UpdateSettings, name: str, root: Root, work: Work[StageContext]) -> None:
    """Add the transfer definitions, the keyring and the deadline to a root. ``name`` is that of the system."""
    feed = Feed(name, settings.url.rstrip("/") + "/", settings.slot, settings.compression)
    texts = {f"{DEFINITIONS}/{file}": text for file, text in definitions(feed).items()}
    for path, text in {**texts, **deadline_units(settings.deadline)}.items():
        files.write_file(root.path, path, text, epoch=work.epoch)
    wanted_by = f"{UNITS}/sysinit.target.wants/{DEADLINE}.timer"
    files.make_link(root.path, wanted_by, f"../{DEADLINE}.timer", epoch=work.epoch)
    folder = work.new_folder("updates")
    keyring = folder / KEYRING.lstrip("/")
    keyring.parent.mkdir(parents=True)
    keyring.write_bytes(binary_keyring(work.files[settings.key].read_bytes(), settings.key))
    files.copy_in(root.path, folder, epoch=work.epoch)
