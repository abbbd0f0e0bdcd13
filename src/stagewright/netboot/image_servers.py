"""NFS and NBD servers on the loopback interface, from which the machine of a test reads its image."""

from __future__ import annotations

from pathlib import Path

from stagewright.events import Listener
from stagewright.media.render import render
from stagewright.netboot.service import LOOPBACK, LoopbackService, free_port, plain_path

NFS_SERVER, NBD_SERVER = "ganesha.nfsd", "nbdkit"

_EXPORT = "/set"


class NfsServer(LoopbackService):
    """A folder over NFS version 4, read-only, by ganesha.nfsd(8). ``work`` takes its files. Needs root."""

    def __init__(self, folder: Path, work: Path, listener: Listener = lambda _: None) -> None:
        self.port = free_port()
        paths = {"folder": plain_path(folder), "work": plain_path(work)}
        facts = {**paths, "shared": _EXPORT, "port": self.port, "address": LOOPBACK}
        configuration = work / "ganesha.conf"
        configuration.write_text(render("stagewright.netboot", "ganesha.conf", **facts), encoding="utf-8")
        words = [NFS_SERVER, "-F", "-f", str(configuration), "-p", str(work / "ganesha.pid"), "-L", "STDOUT"]
        package = "nfs-ganesha-vfs on Debian, and in overlays of Gentoo"
        hint = "run it as root, with the folder on a file system with file handles (not overlayfs)"
        super().__init__([*words, "-N", "NIV_EVENT"], package=package, hint=hint, listener=listener)

    def url(self, host: str) -> str:
        """Return the folder's address, in dracut's form, for a client that reaches this computer as ``host``."""
        return f"nfs:port={self.port}:{host}:{_EXPORT}"


class NbdServer(LoopbackService):
    """A file over NBD, read-only, by nbdkit(1)."""

    def __init__(self, file: Path, listener: Listener = lambda _: None) -> None:
        self.port = free_port()
        words = [NBD_SERVER, "--foreground", "--readonly", "--ipaddr", LOOPBACK, "--port", str(self.port)]
        package = "nbdkit on Debian, sys-block/nbdkit on Gentoo"
        hint = "see its output above"
        super().__init__([*words, "file", str(file)], package=package, hint=hint, listener=listener)

    def url(self, host: str) -> str:
        """Return the image's address for a client that reaches this computer as ``host``."""
        return f"nbd://{host}:{self.port}"
