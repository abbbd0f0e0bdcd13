"""Servers by which a machine reads its image while it runs, on this computer's loopback: for tests of one machine."""

from __future__ import annotations

from pathlib import Path

from stagewright.events import Listener
from stagewright.media.render import render
from stagewright.netboot.companions import LOOPBACK, OnLoopback, free_port

NFS_SERVER, NBD_SERVER = "ganesha.nfsd", "nbdkit"

_SHARED = "/set"


class NfsServer(OnLoopback):
    """A folder over NFS, version 4 and read-only, by ganesha.nfsd(8); ``work`` takes its files. Needs root."""

    def __init__(self, folder: Path, work: Path, listener: Listener = lambda _: None) -> None:
        self.port = free_port()
        facts = {"folder": folder, "shared": _SHARED, "port": self.port, "address": LOOPBACK, "work": work}
        configuration = work / "ganesha.conf"
        configuration.write_text(render("stagewright.netboot", "ganesha.conf", **facts), encoding="utf-8")
        words = [NFS_SERVER, "-F", "-f", str(configuration), "-p", str(work / "ganesha.pid"), "-L", "STDOUT"]
        package = "nfs-ganesha-vfs on Debian, and in overlays of Gentoo"
        hint = "it takes root, and a file system with file handles, which overlayfs is not"
        super().__init__([*words, "-N", "NIV_EVENT"], package=package, hint=hint, listener=listener)

    def url(self, host: str) -> str:
        """The folder, for a client that knows this computer under a name; with a port, as dracut takes it."""
        return f"nfs:port={self.port}:{host}:{_SHARED}"


class NbdServer(OnLoopback):
    """A file over NBD, read-only, by nbdkit(1)."""

    def __init__(self, file: Path, listener: Listener = lambda _: None) -> None:
        self.port = free_port()
        words = [NBD_SERVER, "--foreground", "--readonly", "--ipaddr", LOOPBACK, "--port", str(self.port)]
        package = "nbdkit on Debian, sys-block/nbdkit on Gentoo"
        hint = "what it said tells why"
        super().__init__([*words, "file", str(file)], package=package, hint=hint, listener=listener)

    def url(self, host: str) -> str:
        """The image, for a client that knows this computer under a name."""
        return f"nbd://{host}:{self.port}"
