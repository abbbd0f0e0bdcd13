"""diskimage-stage1: a system prepared for disk images: a stage4 of which each copy starts as a new machine.

Input: any root. The result is a layer. ``type`` says how users log in, like ``diskimage/type`` of Gentoo's release
builder. It adds to the settings of a stage4. A diskimage-stage2 makes the image.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.update_settings import (
    ID,
    SYSTEMD,
    UpdateSettings,
    add_update_files,
    missing_for_updates,
)
from stagewright.kinds.common.work import Built, Work
from stagewright.kinds.stages.stage4 import Stage4
from stagewright.media.updates.client import CLIENT, CLIENT_PACKAGE
from stagewright.portage.emerge import Portage
from stagewright.project.fields import ByValue
from stagewright.root import files
from stagewright.root.accounts import PublicKeys, User
from stagewright.root.machine_state import MACHINE_ID, MachineState
from stagewright.root.requirements import raise_if_missing
from stagewright.root.root import Root
from stagewright.root.services import Services

NETWORK = "/etc/systemd/network/50-dhcp.network"
_DHCP = "[Match]\nType=ether\n\n[Network]\nDHCP=yes\n"


_UNITS = ("/usr/lib/systemd/system", "/lib/systemd/system")
_OLD_UNITS = {"cloud-init-main.service": "", "cloud-init-network.service": "cloud-init.service"}
"""Units of cloud-init by their names since 24.3, and the names before; "" for a unit that did not exist."""


class DiskType(enum.StrEnum):
    """How users log in to the system of a disk image."""

    GENERIC = "generic"
    CONSOLE = "console"
    SSH = "ssh"
    CLOUD_INIT = "cloud-init"

    @property
    def services(self) -> Sequence[str]:
        """The units of systemd that it needs."""
        network = ("systemd-networkd.service", "systemd-resolved.service")
        return {
            DiskType.GENERIC: (),
            DiskType.CONSOLE: network,
            DiskType.SSH: (*network, "sshd.service"),
            DiskType.CLOUD_INIT: (
                "cloud-init-main.service",
                "cloud-init-local.service",
                "cloud-init-network.service",
                "cloud-config.service",
                "cloud-final.service",
            ),
        }[self]

    @property
    def dhcp(self) -> bool:
        """True if it configures the network."""
        return self in (DiskType.CONSOLE, DiskType.SSH)


class DiskImage1(Stage4, kind="diskimage-stage1"):
    """A stage of kind ``diskimage-stage1``."""

    type: Annotated[DiskType, ByValue()] = DiskType.GENERIC
    """How users log in, with systemd: `console` (root without password), `ssh`, `cloud-init`, or else `generic`."""
    ssh_key: PublicKeys | None = None
    """With `type = "ssh"`: a public key that can log in as root, or a file of public keys."""
    updates: UpdateSettings | None = Field(default=None, exclude_if=lambda updates: updates is None)
    """Let the system update itself, by systemd-sysupdate or stagewright-update (docs/updates.md)."""

    @model_validator(mode="after")
    def _fits(self) -> DiskImage1:
        if (self.type is DiskType.SSH) != (self.ssh_key is not None):
            hint = 'write both type = "ssh" and ssh_key = "FILE", or neither'
            raise PydanticCustomError("ssh_key", "`ssh_key` and `type = 'ssh'` need each other", {"hint": hint})
        if self.type is DiskType.CONSOLE and self.root_password is not None:
            facts = {"hint": "remove root_password, or use another type"}
            raise PydanticCustomError("password", "`type = 'console'` is for root without a password", facts)
        return self

    @property
    def kept_state(self) -> list[MachineState]:
        """The empty machine id that this stage writes stays, too."""
        return [*super().kept_state, MachineState.MACHINE_ID]

    def build(self, work: Work[PackageContext]) -> Built:
        """Build the stage4 with the settings of the type."""
        layers = work.store.stack(work.inputs["root"].key)
        old = self.type is DiskType.CLOUD_INIT and _has_old_cloud_init(layers)
        return super(DiskImage1, self._with_type(old=old, timers=self._timers(layers))).build(work)

    def _timers(self, layers: Sequence[Path]) -> Sequence[str]:
        """Return the timers of updates. A root without systemd has none."""
        if not self.updates:
            return ()
        own = CLIENT_PACKAGE in self.packages or any(files.exists(tree, CLIENT) for tree in layers)
        return () if own and not any(files.exists(tree, SYSTEMD) for tree in layers) else self.updates.timers()

    def _with_type(self, *, old: bool = False, timers: Sequence[str] = ()) -> DiskImage1:
        """Return the settings with those of the type. ``old`` is True for a root with a cloud-init before 24.3."""
        units = [_OLD_UNITS.get(name, name) if old else name for name in self.type.services]
        wanted = (*filter(None, units), *timers)
        services = [name for name in wanted if name not in self.services.enable]
        enabled = {"enable": [*self.services.enable, *services]}
        changes: dict[str, object] = {"services": Services(**{**self.services.model_dump(), **enabled})}
        if self.type is DiskType.CONSOLE:
            changes["root_password"] = "empty"  # noqa: S105  a word of the setting
        if self.ssh_key:
            root = self.users.get("root", User())
            keys = [*root.authorized_keys, self.ssh_key]
            changes["users"] = {**self.users, "root": root.model_copy(update={"authorized_keys": keys})}
        return self.model_copy(update=changes)

    def _packages(self, root: Root, portage: Portage, work: Work[PackageContext]) -> None:
        super()._packages(root, portage, work)
        files.write_file(root.path, MACHINE_ID, "", epoch=work.epoch, mode=0o444)
        if self.type.dhcp:
            files.write_file(root.path, NETWORK, _DHCP, epoch=work.epoch)
        if self.updates:
            raise_if_missing(missing_for_updates(self.updates, self.os_release, root))
            add_update_files(self.updates, self.os_release[ID], root, work)


def _has_old_cloud_init(layers: Sequence[Path]) -> bool:
    """Return True if a root made of these layers has a cloud-init before 24.3."""
    names = ("cloud-init.service", "cloud-init-network.service")
    old, new = (any(files.exists(tree, f"{at}/{name}") for tree in layers for at in _UNITS) for name in names)
    return old and not new
