"""Files that let a system with systemd update itself: transfer definitions, keyring, deadline of a boot.

``/usr/lib/sysupdate.d`` names the feed, the partitions and the kernel image (sysupdate.d(5)). ``boot-deadline`` reboots
a machine whose new version does not reach its goal in time: systemd-boot has counted the start as a failed one, and
starts the version before after the last try (docs of systemd: AUTOMATIC_BOOT_ASSESSMENT).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stagewright.media.updates.feed import FeedCompression

DEFINITIONS = "/usr/lib/sysupdate.d"
"""Folder of the definitions. Files of the same name in /run/sysupdate.d and /etc/sysupdate.d replace them."""

KEYRING = "/etc/systemd/import-pubring.gpg"
"""The keys that systemd-sysupdate trusts. Another file, of the package, would be used without it."""

UNITS = "/usr/lib/systemd/system"

DEADLINE = "boot-deadline"
"""Name of the timer and of the service that it starts."""

COUNTER = "/sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
"""Variable that systemd-boot sets if it counts the boot."""

TRIES = 3
"""Number of times that a new version may fail to start."""

PROGRAMS = {
    "/usr/lib/systemd/systemd-sysupdate": "systemd with sysupdate; Debian's package is systemd-container",
    "/usr/lib/systemd/systemd-pull": "systemd with importd; Debian's package is systemd-container",
    "/usr/lib/systemd/systemd-bless-boot": "systemd-boot",
    "/usr/bin/gpg": "gpg or app-crypt/gnupg",
}
"""Programs that a system needs to update itself, with the packages that have them."""


@dataclass(frozen=True)
class Feed:
    """Where a system finds its updates: the name of the system, the address of the folder, and how files end."""

    name: str
    url: str
    slot: str = "root"
    compression: FeedCompression = FeedCompression.XZ


def definitions(feed: Feed) -> Mapping[str, str]:
    """Return the texts of the transfer definitions, by file name. The kernel image is the last, so it comes last."""
    partitions = (feed.slot, f"{feed.slot}-verity")
    texts = {f"{number}0-{role}.transfer": _partition(feed, role) for number, role in enumerate(partitions, 1)}
    return {**texts, "30-kernel.transfer": _kernel(feed)}


def _head(feed: Feed, pattern: str) -> str:
    # %A is IMAGE_VERSION in os-release: the running version is never overwritten
    return (
        "[Transfer]\nProtectVersion=%A\nVerify=yes\n\n"
        f"[Source]\nType=url-file\nPath={_escaped(feed.url)}\nMatchPattern={pattern}\n\n"
    )


def _partition(feed: Feed, role: str) -> str:
    head = _head(feed, f"{feed.name}_@v_@u.{role}{feed.compression.suffix}")
    return (
        f"{head}[Target]\nType=partition\nPath=auto\nMatchPattern={feed.name}_@v\n"
        f"MatchPartitionType={role}\nReadOnly=yes\nInstancesMax=2\n"
    )


def _kernel(feed: Feed) -> str:
    names = " ".join(f"{feed.name}_@v{counter}.efi" for counter in ("+@l-@d", "+@l", ""))
    return (
        f"{_head(feed, f'{feed.name}_@v.efi')}[Target]\nType=regular-file\nPath=/EFI/Linux\nPathRelativeTo=boot\n"
        f"MatchPattern={names}\nMode=0444\nTriesLeft={TRIES}\nTriesDone=0\nInstancesMax=2\n"
    )


def _escaped(text: str) -> str:
    """Return a value without specifiers (systemd.unit(5))."""
    return text.replace("%", "%%")


def deadline_units(seconds: int) -> Mapping[str, str]:
    """Return the units of the deadline by path: a boot that is counted and not good after this time is a failed one.

    The timer does not depend on targets, so it also works if the system stops in emergency mode. systemd's own
    boot-complete.target needs sysinit.target only, so a system without a login would be a good one.
    """
    independent = "DefaultDependencies=no\nIgnoreOnIsolate=yes\n"
    timer = (
        "[Unit]\nDescription=Deadline of a Boot of a New Version\nDocumentation=man:systemd-bless-boot.service(8)\n"
        f"{independent}ConditionPathExists={COUNTER}\n\n"
        f"[Timer]\nOnBootSec={seconds}\nAccuracySec=1\n"
    )
    service = (
        "[Unit]\nDescription=Reboot Because a New Version Did Not Start in Time\n"
        f"{independent}SuccessAction=reboot-force\nFailureAction=reboot-force\n\n"
        "[Service]\nType=oneshot\nExecStart=/bin/true\n"
    )
    complete = "[Unit]\nRequires=multi-user.target\nAfter=multi-user.target\n"
    good = f"[Service]\nExecStartPost=/usr/bin/systemctl stop {DEADLINE}.timer\n"
    return {
        f"{UNITS}/{DEADLINE}.timer": timer,
        f"{UNITS}/{DEADLINE}.service": service,
        f"{UNITS}/boot-complete.target.d/{DEADLINE}.conf": complete,
        f"{UNITS}/systemd-bless-boot.service.d/{DEADLINE}.conf": good,
    }
