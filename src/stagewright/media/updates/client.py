"""Files that let a system without systemd update itself: settings and keyring of stagewright-update.

The program is an ebuild of the demo's repository (``sys-apps/stagewright-update``). It reads the same feed as
systemd-sysupdate (``feed.py``), and does the work of systemd-bless-boot, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stagewright.media.updates.feed import FeedCompression
from stagewright.media.updates.transfers import Feed

CLIENT = "/usr/bin/stagewright-update"

CLIENT_PACKAGE = "sys-apps/stagewright-update"

CLIENT_SETTINGS, CLIENT_KEYRING = "/etc/stagewright-update/update.conf", "/etc/stagewright-update/keyring.gpg"

RUNLEVELS = "/etc/runlevels"
"""Folder of OpenRC with links to the services of each runlevel."""

OPENRC_SERVICES = {"sysinit": "stagewright-update-watch", "default": "stagewright-update"}
"""Services of the program by runlevel. init of busybox starts those in /etc/rc.d."""

PROGRAM_FOLDERS = ("/usr/bin", "/usr/sbin", "/bin", "/sbin")


def client_settings(feed: Feed, deadline: int, *, automatic: bool) -> str:
    """Return the settings: the feed, and the seconds from the start of the kernel until a new version must be good."""
    lines = {
        "name": feed.name,
        "url": feed.url,
        "slot": feed.slot,
        "deadline": str(deadline),
        "keyring": CLIENT_KEYRING,
        "automatic": "yes" if automatic else "no",
    }
    return "".join(f"{key} = {value}\n" for key, value in lines.items())


def client_programs(compression: FeedCompression) -> Mapping[Sequence[str], str]:
    """Return the programs that the client needs, with their packages. One of each sequence is enough."""
    programs: dict[Sequence[str], str] = {
        ("sfdisk",): "sys-apps/util-linux; Debian's package is fdisk",
        ("gpgv",): "app-crypt/gnupg; Debian's package is gpgv",
        ("flock",): "sys-apps/util-linux or sys-apps/busybox",
        ("sha256sum",): "sys-apps/coreutils or sys-apps/busybox",
        ("awk",): "sys-apps/gawk or sys-apps/busybox",
        ("curl", "wget"): "net-misc/curl, net-misc/wget or sys-apps/busybox",
    }
    match compression:
        case FeedCompression.XZ:
            programs["xz",] = "app-arch/xz-utils or sys-apps/busybox"
        case FeedCompression.GZIP:
            programs["gzip",] = "app-arch/gzip or sys-apps/busybox"
    return programs
