"""TFTP and proxy DHCP by dnsmasq(8), for machines without HTTP, in a network that already has a DHCP server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stagewright.events import Listener
from stagewright.netboot.service import Service, plain_path
from stagewright.netboot.writer import dnsmasq_configuration

GRACE = 1.0
"""Seconds after which dnsmasq has either exited with an error or is ready."""

HINT = "run it as root, stop other programs that use these ports, and make the folder readable for all users"


def programs_in(folder: Path) -> list[str]:
    """Return the names of the boot programs in a set."""
    return sorted(path.name for path in folder.iterdir() if path.suffix in (".kpxe", ".efi", ".0"))


def configuration(
    folder: Path, address: str, base_url: str, *, proxy_dhcp: bool, programs: Sequence[str] | None = None
) -> str:
    """Return the configuration of dnsmasq: TFTP for a folder at an address, and with ``proxy_dhcp`` boot options.

    ``programs`` are the boot programs to offer; default: all in the folder.
    """
    common = [f"listen-address={address}", "bind-interfaces"]
    if not proxy_dhcp:
        return "\n".join(["port=0", "enable-tftp", f"tftp-root={plain_path(folder)}", *common, ""])
    offered = programs_in(folder) if programs is None else programs
    text = dnsmasq_configuration("netboot", offered, base_url, address=address, folder=plain_path(folder))
    return "\n".join([text, *common, ""])


class Dnsmasq(Service):
    """dnsmasq with the configuration ``text``."""

    def __init__(self, text: str, listener: Listener) -> None:
        # A process that changes its user loses its parent-death signal (prctl(2)). As root, dnsmasq only serves files
        # that all users can read (dnsmasq(8), --tftp-secure).
        words = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/stdin", "--log-facility=-", "--pid-file"]
        words += ["--user=root", "--group=root"]
        package = "dnsmasq-base on Debian, net-dns/dnsmasq on Gentoo"
        super().__init__(words, package=package, hint=HINT, text=text, listener=listener)

    def is_ready(self, seconds: float) -> bool:
        """Return True after :data:`GRACE` seconds."""
        return seconds >= GRACE
