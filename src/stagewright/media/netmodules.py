"""dracut modules that fetch the image over the network, and what each requires of the environment.

``livenet`` and ``nfs`` are part of dracut. ``stagewright-stream`` is part of Stagewright (folder ``stream``). It is
written into the environment before dracut runs, and reads the image over HTTP or NBD while the system runs.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING

from stagewright.kernel.features import KernelFeatures
from stagewright.root import files
from stagewright.root.local import has_program
from stagewright.root.requirements import MissingRequirement

if TYPE_CHECKING:
    from stagewright.root.root import Root

_ONLINE = {"ip": "iproute2", "arping": "iputils", "dhclient": "dhcp", "curl": "curl", "pgrep": "procps"}

_PLUGINS = ("/usr/lib/*/nbdkit/plugins", "/usr/lib64/nbdkit/plugins", "/usr/lib/nbdkit/plugins")


class NetModule(enum.StrEnum):
    """A dracut module for network boot."""

    LIVENET = "livenet"
    NFS = "nfs"
    STREAM = "stagewright-stream"

    @property
    def tools(self) -> Mapping[str, str]:
        """Programs that it copies from the environment, with the packages that install them."""
        match self:
            case NetModule.LIVENET:
                return _ONLINE
            case NetModule.NFS:
                nfs = dict.fromkeys(("mount.nfs", "mount.nfs4", "rpc.statd"), "nfs-common or nfs-utils")
                return {"rpcbind": "rpcbind", **nfs, "basename": "coreutils"}
            case NetModule.STREAM:
                return {**_ONLINE, "bash": "bash", "nbdkit": "nbdkit", "nbd-client": "nbd-client or nbd"}

    @property
    def installs(self) -> tuple[str, ...]:
        """Programs that it uses but does not copy: dracut's url-lib calls basename(1) for NFS mounts (measured)."""
        return ("basename",) if self is NetModule.NFS else ()

    @property
    def drivers(self) -> tuple[str, ...]:
        """Kernel drivers that it uses; the first one is required."""
        match self:
            case NetModule.LIVENET:
                return ()
            case NetModule.NFS:
                return ("nfs", "nfsv3", "nfsv4")
            case NetModule.STREAM:
                return ("nbd",)

    def missing(self, root: Root) -> list[MissingRequirement]:
        """Return what the environment lacks for it, apart from programs."""
        patterns = [f"{folder}/nbdkit-curl-plugin.so" for folder in _PLUGINS]
        if (
            self is not NetModule.STREAM
            or not has_program(root, "nbdkit")
            or any(files.find(root.path, patterns).values())
        ):
            return []
        return [
            MissingRequirement(
                "nbdkit in the payload's environment has no curl plugin",
                "install nbdkit with its curl plugin (Gentoo: USE=curl)",
            )
        ]

    def missing_drivers(self, features: KernelFeatures, drivers: frozenset[str]) -> list[str]:
        """Return drivers that the kernel has and the initramfs lacks, and the required one if the kernel lacks it."""
        first, *_ = self.drivers or ("",)
        known = features.drivers
        missing = [name for name in self.drivers if name in features.modules and name not in drivers]
        return missing + ([first] if first and first not in known else [])
