"""A control group for a container, of the unified hierarchy: made by a worker, removed by a keeper outside of it.

Unlike processes and mounts, a control group outlives whoever made it. So the process that starts a worker starts a
keeper first, which removes the group of that name as soon as its starter closes the pipe between them or is gone,
however that happened. Both mount the hierarchy anew in namespaces of their own, so it does not matter how this machine
has mounted it. See cgroups(7).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.run import PIPE, Process, run, spawn

MOUNT = Path("/sys/fs/cgroup")

_KEEPER = """
mount -t cgroup2 cgroup2 "$1" || exit
read -r _
for _ in $(seq 100); do
    sleep 0.1
    [ -d "$1$2" ] || continue
    echo 1 > "$1$2/cgroup.kill"
    find "$1$2" -depth -type d -exec rmdir {} + && exit
done
"""
# It looks again for ten seconds: what dies takes a moment to be gone, and a worker may die while it makes the group.


def enter(name: str) -> None:
    """Move this process into a new group, in a mount namespace of its own. Raises ``HOST_FEATURE``."""
    try:
        run(["mount", "-t", "cgroup2", "cgroup2", MOUNT])
        group = Path(f"{MOUNT}{_path(name)}")
        group.mkdir()
        (group / "cgroup.procs").write_text(str(os.getpid()), encoding="utf-8")
    except (OSError, StagewrightError) as error:
        raise StagewrightError(
            Reason.HOST_FEATURE,
            "no control group can be made for a container",
            detail=str(error),
            hint="the kernel must have cgroup2 (CONFIG_CGROUPS); in a container, run it privileged",
        ) from error


def keeper(name: str) -> Process:
    """Start a process that removes the group of this name once its standard input is closed."""
    namespaces = ["unshare", "--mount", "--propagation", "private", "--"]
    return spawn([*namespaces, "sh", "-c", _KEEPER, "keeper", MOUNT, _path(name)], stdin=PIPE, own_session=True)


def _path(name: str) -> str:
    """Where the group lies below the mount: in the group that this process is in."""
    found = re.search(r"^0::(/.*)$", Path("/proc/self/cgroup").read_text(encoding="utf-8"), re.MULTILINE)
    return f"{found[1].rstrip('/') if found else ''}/stagewright-{name}"
