"""TFTP and proxy DHCP by dnsmasq(8), for machines that know no HTTP, beside the DHCP server that a network has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stagewright.events import Listener
from stagewright.netboot.companions import Beside
from stagewright.netboot.writer import dnsmasq_configuration

GRACE = 1.0
"""Seconds after which a dnsmasq that has not ended is one that works."""

HINT = (
    "dnsmasq needs root for these ports, nothing else may listen there, and everybody must be able to read the folder"
)


def programs_in(folder: Path) -> list[str]:
    """The programs for machines that lie in a set."""
    return sorted(path.name for path in folder.iterdir() if path.suffix in (".kpxe", ".efi", ".0"))


def configuration(
    folder: Path, address: str, base_url: str, *, proxy_dhcp: bool, programs: Sequence[str] | None = None
) -> str:
    """What dnsmasq is told: TFTP for a folder at an address, and where to point machines that ask by DHCP.

    ``programs`` are those to choose from; default: all that lie in the folder.
    """
    common = [f"listen-address={address}", "bind-interfaces"]
    if not proxy_dhcp:
        return "\n".join(["port=0", "enable-tftp", f"tftp-root={folder}", *common, ""])
    known = programs_in(folder) if programs is None else programs
    text = dnsmasq_configuration("netboot", known, base_url, address=address, folder=str(folder))
    return "\n".join([text, *common, ""])


class Dnsmasq(Beside):
    """dnsmasq with a configuration, for as long as the context lasts; what it says becomes events.

    Raises ``MISSING_TOOL``, or ``HOST_FEATURE`` with what it said when it does not stay.
    """

    def __init__(self, text: str, listener: Listener) -> None:
        # A process that changes its user loses its parent-death signal (prctl(2)). As root dnsmasq hands out only files
        # that everybody may read (dnsmasq(8), --tftp-secure).
        words = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/stdin", "--log-facility=-", "--pid-file"]
        words += ["--user=root", "--group=root"]
        package = "dnsmasq-base on Debian, net-dns/dnsmasq on Gentoo"
        super().__init__(words, package=package, hint=HINT, text=text, listener=listener)

    def is_ready(self, seconds: float) -> bool:
        """Whether it has stayed long enough."""
        return seconds >= GRACE
