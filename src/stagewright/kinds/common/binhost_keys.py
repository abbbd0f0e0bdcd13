"""Keys of the binary package hosts of a stage: files of the project, or Gentoo's on this computer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stagewright.errors import StagewrightError
from stagewright.project.model import Project
from stagewright.seeds.gentoo_keyring import default_keyring, existing_keyring

if TYPE_CHECKING:
    from stagewright.project.binhost import Binhost


def binhost_keys(project: Project, hosts: Mapping[str, Binhost]) -> dict[str, Path]:
    """Return the files of keys by the name of the host. A host by Gentoo's keys is left out if they are missing."""
    keys = {name: project.path(host.keys) for name, host in hosts.items() if host.keys}
    default = default_keyring()
    gentoo = [name for name, host in hosts.items() if host.by_gentoo_keys] if default.is_file() else []
    return {**keys, **dict.fromkeys(gentoo, default)}


def missing_gentoo_keys(hosts: Mapping[str, Binhost]) -> list[StagewrightError]:
    """Return the error of a computer without Gentoo's keys if one of the hosts needs them."""
    if any(host.by_gentoo_keys for host in hosts.values()):
        try:
            existing_keyring()
        except StagewrightError as error:
            return [error]
    return []
