"""Settings of systems that update themselves, and the files that these systems get."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

from stagewright.kinds.common.context import StageContext
from stagewright.kinds.common.work import Work
from stagewright.media.updates.client import (
    CLIENT,
    CLIENT_KEYRING,
    CLIENT_PACKAGE,
    CLIENT_SETTINGS,
    OPENRC_SERVICES,
    PROGRAM_FOLDERS,
    RUNLEVELS,
    client_programs,
    client_settings,
)
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

SYSTEMD, SYSUPDATE = "/usr/lib/systemd/systemd", "/usr/lib/systemd/systemd-sysupdate"


class UpdateSettings(Section):
    """Settings of a system of two slots that updates itself: by systemd-sysupdate, or without systemd by
    stagewright-update."""

    url: Annotated[str, Matching(r"https?://[^\s\"\\]+", "an address with http:// or https://")]
    """The address of the folder with the feed."""
    key: FilePath
    """A file with the OpenPGP public keys that may sign updates."""
    slot: Literal["root", "usr"] = "root"
    """The partition that is replaced: `root` or `usr`."""
    compression: Annotated[FeedCompression, ByValue()] = FeedCompression.XZ
    """The compression of the feed's partitions, as in its update-feed stage."""
    deadline: Annotated[int, Field(ge=30, le=86400), SECONDS] = 300
    """Seconds from the start of the kernel's init until a new version must be good: it has reached
    boot-complete.target, or without systemd started all services. After this time the machine reboots."""
    automatic: bool = False
    """Update each day and reboot at night, by timers of systemd or by stagewright-update."""

    def timers(self) -> tuple[str, ...]:
        """Return the units of systemd to enable."""
        return TIMERS if self.automatic else ()


def has_client(root: Root) -> bool:
    """Return True if a root updates itself by stagewright-update: it has this program, and no systemd."""
    return files.exists(root.path, CLIENT) and not files.exists(root.path, SYSTEMD)


def missing_for_updates(
    settings: UpdateSettings, os_release: Mapping[str, str], root: Root
) -> Iterator[MissingRequirement]:
    """Yield what a system lacks to update itself: programs, and its name and version in os-release(5)."""
    if has_client(root):
        yield from _missing_for_client(settings, root)
    elif files.exists(root.path, SYSTEMD) or files.exists(root.path, SYSUPDATE):
        for path, package in PROGRAMS.items():
            if not files.exists(root.path, path):
                yield MissingRequirement(f"updates: {path} not found in the root", f"add {package}")
    else:
        hint = f"add {CLIENT_PACKAGE} (of examples/demo/repo), or {PROGRAMS[SYSUPDATE]}"
        yield MissingRequirement(f"updates: neither {CLIENT} nor {SYSUPDATE} found in the root", hint)
        yield from _missing_for_client(settings, root)
    for name, pattern in ((ID, SYSTEM_NAME), (VERSION, SYSTEM_VERSION)):
        value = os_release.get(name, "")
        if not re.fullmatch(pattern, value):
            hint = f'write os_release = {{ {ID} = "fleet", {VERSION} = "{{version}}" }}'
            yield MissingRequirement(f"updates: os_release has no valid {name} (found {value!r})", hint)


def _missing_for_client(settings: UpdateSettings, root: Root) -> Iterator[MissingRequirement]:
    for names, package in client_programs(settings.compression).items():
        if not any(files.exists(root.path, f"{folder}/{name}") for folder in PROGRAM_FOLDERS for name in names):
            yield MissingRequirement(f"updates: {' or '.join(names)} not found in the root", f"add {package}")


def add_update_files(settings: UpdateSettings, name: str, root: Root, work: Work[StageContext]) -> None:
    """Add the files of the program that updates a root, the keyring and the deadline. ``name`` is the system's."""
    feed = Feed(name, settings.url.rstrip("/") + "/", settings.slot, settings.compression)
    if has_client(root):
        keyring = CLIENT_KEYRING
        _add_client(settings, feed, root, work)
    else:
        keyring = KEYRING
        _add_definitions(settings, feed, root, work)
    folder = work.new_folder("updates")
    path = folder / keyring.lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_bytes(binary_keyring(work.files[settings.key].read_bytes(), settings.key))
    files.copy_in(root.path, folder, epoch=work.epoch)


def _add_definitions(settings: UpdateSettings, feed: Feed, root: Root, work: Work[StageContext]) -> None:
    texts = {f"{DEFINITIONS}/{file}": text for file, text in definitions(feed).items()}
    for path, text in {**texts, **deadline_units(settings.deadline)}.items():
        files.write_file(root.path, path, text, epoch=work.epoch)
    wanted_by = f"{UNITS}/sysinit.target.wants/{DEADLINE}.timer"
    files.make_link(root.path, wanted_by, f"../{DEADLINE}.timer", epoch=work.epoch)


def _add_client(settings: UpdateSettings, feed: Feed, root: Root, work: Work[StageContext]) -> None:
    text = client_settings(feed, settings.deadline, automatic=settings.automatic)
    files.write_file(root.path, CLIENT_SETTINGS, text, epoch=work.epoch)
    for runlevel, service in OPENRC_SERVICES.items():
        if files.exists(root.path, f"{RUNLEVELS}/{runlevel}"):
            files.make_link(root.path, f"{RUNLEVELS}/{runlevel}/{service}", f"/etc/init.d/{service}", epoch=work.epoch)
