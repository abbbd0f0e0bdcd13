"""A control group for a container, in the unified hierarchy: a worker makes it, a keeper outside removes it.

Unlike processes and mounts, a control group outlives the process that made it. So the engine starts a keeper before the
worker. The keeper removes the group of a given name when the engine closes the pipe between them or ends. Both mount
the hierarchy in a separate mount namespace, so it does not matter how this machine has mounted it. See cgroups(7).
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.run import PIPE, Process, run, spawn

MOUNT = Path("/sys/fs/cgroup")

_KEEPER = """
mount -t cgroup2 cgroup2 "$1" || exit
read -r ended
for _ in $(seq 100); do
    if [ -d "$1$2" ]; then
        echo 1 > "$1$2/cgroup.kill"
        find "$1$2" -depth -type d -exec rmdir {} + && exit
    elif [ "$ended" ]; then
        exit
    fi
    sleep 0.1
done
"""
# A killed process needs a moment to leave its group. Without a message the engine is gone, and the worker, which is
# being killed, may just be making the group: so the keeper looks for ten seconds.


def enter(name: str) -> None:
    """Move this process, which has its own mount namespace, into a new group.

    Raises: HOST_FEATURE if the kernel or the rights of this process do not permit it.
    """
    try:
        run(["mount", "-t", "cgroup2", "cgroup2", MOUNT])
        group = Path(f"{MOUNT}{_path(name)}")
        group.mkdir()
        (group / "cgroup.procs").write_text(str(os.getpid()), encoding="utf-8")
    except (OSError, StagewrightError) as error:
        raise StagewrightError(
            Reason.HOST_FEATURE,
            "control group for a container: cannot be made",
            detail=str(error),
            hint="use a kernel with cgroup2 (CONFIG_CGROUPS); in a container, run that privileged",
        ) from error


def keeper(name: str) -> Process:
    """Start the keeper of the group of this name."""
    namespaces = ["unshare", "--mount", "--propagation", "private", "--"]
    return spawn([*namespaces, "sh", "-c", _KEEPER, "keeper", MOUNT, _path(name)], stdin=PIPE, own_session=True)


def dismiss(keeper: Process) -> None:
    """Have a keeper remove its group after the worker has ended, and wait until it has done so (at most 10 s)."""
    assert keeper.stdin
    with contextlib.suppress(OSError):
        keeper.stdin.write(b"ended\n")
    with contextlib.suppress(OSError):
        keeper.stdin.close()
    keeper.wait()


def _path(name: str) -> str:
    """Return the path of the group below the mount: a child of the group that this process is in."""
    found = re.search(r"^0::(/.*)$", Path("/proc/self/cgroup").read_text(encoding="utf-8"), re.MULTILINE)
    return f"{found[1].rstrip('/') if found else ''}/stagewright-{name}"
