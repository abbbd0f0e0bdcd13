"""State of one machine that must not ship: every machine that starts from a root would have the same.

Packages make these files while they are merged, with random numbers and times. So they would also make each build
differ. Gentoo's release builder removes most of them from its stages, too. ``keep_state`` of a stage names those that
stay; a file that an overlay of the stage brings stays, too.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from stagewright.chroot import inside
from stagewright.root.files import matches
from stagewright.trees import remove_tree


class MachineState(enum.StrEnum):
    """A group of files. Each member says what it is, in the words of the setting ``keep_state``."""

    MACHINE_ID = "machine-id"
    DBUS_ID = "dbus-id"
    RANDOM_SEED = "random-seed"
    BACKUPS = "backups"
    LOGS = "logs"
    LDCONFIG = "ldconfig"
    RESOLV_CONF = "resolv.conf"
    HOME = "home"
    PORTAGE_CACHE = "portage-cache"

    @property
    def patterns(self) -> tuple[str, ...]:
        """Shell patterns of the files, absolute inside the root."""
        return _PATTERNS[self]


MACHINE_ID, RESOLV_CONF = "/etc/machine-id", "/etc/resolv.conf"
_PASSWD = ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")
_LOGS = ("emerge.log", "emerge-fetch.log", "portage/*", "installkernel.log", "genkernel.log", "dracut.log")

_PATTERNS: Mapping[MachineState, tuple[str, ...]] = {
    MachineState.MACHINE_ID: (MACHINE_ID,),
    MachineState.DBUS_ID: ("/var/lib/dbus/machine-id",),
    MachineState.RANDOM_SEED: (
        *("/var/lib/systemd/random-seed", "/var/lib/systemd/credential.secret", "/var/lib/random-seed"),
        *("/var/lib/misc/random-seed", "/var/lib/seedrng/*", "/boot/loader/random-seed", "/efi/loader/random-seed"),
    ),
    MachineState.BACKUPS: tuple(f"/etc/{name}-" for name in _PASSWD),
    MachineState.LOGS: (*(f"/var/log/{name}" for name in _LOGS), "/var/lib/misc/installkernel"),
    MachineState.LDCONFIG: ("/var/cache/ldconfig/aux-cache",),
    MachineState.RESOLV_CONF: (RESOLV_CONF,),
    # Portage makes them again: times of folders and of repositories, and blockers with the order of merges.
    MachineState.PORTAGE_CACHE: ("/var/cache/edb/mtimedb", "/var/cache/edb/vdb_blockers.pickle"),
    MachineState.HOME: ("/root/.gnupg", "/root/.bash_history", "/root/.lesshst", "/root/.viminfo", "/root/.wget-hsts"),
}

_OF_THIS_LAYER = frozenset({MachineState.RESOLV_CONF, MachineState.HOME})
"""Groups of which only the files of this layer are removed: an earlier stage may have shipped others on purpose."""

_SYSTEMD = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")


def remove_machine_state(
    root: Path, upper: Path, *, keep: Collection[MachineState] = (), overlays: Collection[Path] = (), empty_id: bool
) -> None:
    """Remove the state of one machine from a root, whose changes are in the layer ``upper``.

    ``overlays`` are folders whose files stay. With ``empty_id``, the machine id of a system with systemd becomes an
    empty file: the machine gets a new id at its first start, but systemd does not start all units of its presets
    (machine-id(5), FIRST BOOT SEMANTICS). Otherwise, and for other init systems, the file is removed: dbus-uuidgen(1)
    fails for an empty one.
    """
    groups = {state: state.patterns for state in MachineState if state not in keep and state not in _OF_THIS_LAYER}
    found = inside(root, _found, groups)
    own = {state: state.patterns for state in _OF_THIS_LAYER if state not in keep}
    if MachineState.RESOLV_CONF in own:  # a mount point of the sandbox, where the link leads
        own[MachineState.RESOLV_CONF] = (RESOLV_CONF, inside(root, os.path.realpath, RESOLV_CONF))
    found += inside(upper, _found, own)
    # The overlays are folders of the project, and the names are those of the patterns above or below their folders.
    wanted = [path for path in found if not any(os.path.lexists(f"{overlay}{path}") for overlay in overlays)]
    inside(root, _remove, wanted, empty_id)


def _found(groups: Mapping[MachineState, tuple[str, ...]]) -> list[str]:
    """Return the files of groups in the root of this process that are state and not links to it."""
    found = []
    for state, patterns in groups.items():
        for path in (path for pattern in patterns for path in matches(pattern)):
            if state in (MachineState.DBUS_ID, MachineState.RESOLV_CONF) and Path(path).is_symlink():
                continue  # to /etc/machine-id, or to a file that a service writes on the running machine
            if state is MachineState.RESOLV_CONF and Path(path).stat().st_size:
                continue  # a setting
            found.append(path)
    return found


def _remove(paths: list[str], empty_id: bool) -> None:
    keeps_id = empty_id and any(os.path.lexists(path) for path in _SYSTEMD)
    for path in paths:
        if not os.path.lexists(path):
            continue
        if Path(path).is_dir() and not Path(path).is_symlink():
            remove_tree(Path(path))
        else:
            _remove_file(path, keeps_id)


def _remove_file(path: str, keeps_id: bool) -> None:
    if path != MACHINE_ID or not keeps_id:
        Path(path).unlink()
    elif Path(path).is_symlink() or Path(path).stat().st_size:
        Path(path).unlink()
        Path(path).touch(mode=0o444)
