"""What this machine must have for a project: rights, kernel features, programs, room on the disk.

``stagewright doctor`` shows every check; a build runs the same ones for what it is about to make, and stops in its
first second when one fails.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.graph.node import Node
from stagewright.kinds.common.base import Stage
from stagewright.kinds.common.tools import SANDBOX, TAR, Tool
from stagewright.kinds.registry import by_kind, tool_of
from stagewright.kinds.tests.boots import BootTest
from stagewright.project.model import Repo
from stagewright.run import PATH, run
from stagewright.store.store import Store
from stagewright.vm import firmware
from stagewright.vm.machine_spec import PLATFORMS

BASE = (
    Tool("unshare", "util-linux", "sys-apps/util-linux"),
    Tool("setpriv", "util-linux", "sys-apps/util-linux[-static]"),
    Tool("mount", "mount", "sys-apps/util-linux"),
    Tool("sync", "coreutils", "sys-apps/coreutils"),
)

OF_REPOS = {
    "path": (),
    "git": (Tool("git", "git", "dev-vcs/git"),),
    "squashfs": (Tool("unsquashfs", "squashfs-tools", "sys-fs/squashfs-tools"), SANDBOX),
    "snapshot": (TAR, SANDBOX),
}
"""What repositories take, by where they come from."""

VERIFIER = Tool("gpg", "gnupg", "app-crypt/gnupg")

ROOM = 2 << 30
"""Bytes that a store should have free before anything is built."""


@dataclass(frozen=True)
class Check:
    """One condition: what was looked at, whether it holds, and what to do if not."""

    name: str
    fine: bool
    found: str
    reason: Reason = Reason.HOST_FEATURE
    remedy: str = ""

    def problem(self) -> StagewrightError:
        """The failed check as an error."""
        return StagewrightError(self.reason, f"{self.name}: {self.found}", hint=self.remedy)


def examine(
    store: Store, kinds: Iterable[str], programs: Iterable[str] = (), repos: Iterable[Repo] = ()
) -> list[Check]:
    """All checks for building these kinds with this store; ``programs`` are tools of nodes, beyond what kinds need."""
    models = [by_kind()[kind] for kind in sorted(set(kinds))]
    tools = [*(tool for model in models for tool in model.required_tools), *map(tool_of, programs), *_tools_of(repos)]
    checks = [_rights(), *_tools([*BASE, *tools]), *_kernel(store), _disk(store)]
    return [*checks, *_firmware(models, {tool.program for tool in tools}), *_cgroups(models)]


def require(store: Store, nodes: Iterable[Node]) -> None:
    """Raise what is missing for building these nodes, all at once."""
    needed = list(nodes)
    checks = examine(store, [node.kind for node in needed], [tool for node in needed for tool in node.tools])
    problems = [check.problem() for check in checks if not check.fine]
    if problems:
        raise ProblemsError(problems)


def require_for_repos(repos: Iterable[Repo]) -> None:
    """Raise what is missing for looking up and fetching repositories, all at once."""
    problems = [check.problem() for check in _tools(_tools_of(repos)) if not check.fine]
    if problems:
        raise ProblemsError(problems)


def _tools_of(repos: Iterable[Repo]) -> Iterator[Tool]:
    for repo in repos:
        yield from OF_REPOS[repo.origin]
        if repo.moves and (repo.verified or repo.manifests):
            yield VERIFIER


def _rights() -> Check:
    user = os.geteuid()
    return Check(
        "rights", user == 0, f"uid {user}", Reason.NOT_ROOT, "builds mount file systems: run as root, or in a container"
    )


def _tools(tools: Iterable[Tool]) -> Iterator[Check]:
    wanted = {tool.program: tool for tool in tools}
    for program, tool in sorted(wanted.items()):
        path = shutil.which(program, path=PATH)
        yield Check(program, path is not None, path or "not installed", Reason.MISSING_TOOL, tool.remedy)


def _kernel(store: Store) -> Iterator[Check]:
    """Make an overlay in new namespaces where the store is: this is what a worker does first."""
    if os.geteuid() != 0 or not shutil.which("unshare", path=PATH):
        return
    try:
        with store.scratch("doctor") as folder:
            yield from _mounting(folder)
    except OSError as error:
        yield Check("store", False, f"cannot write: {error.strerror}", Reason.DISK_FULL, "free space, or use --store")


def _mounting(folder: Path) -> Iterator[Check]:
    for name in ("lower", "upper", "work", "root"):
        (folder / name).mkdir()
    spaces = ["unshare", "--mount", "--propagation", "private", "--pid", "--ipc", "--uts", "--fork"]
    result = run([*spaces, "true"], check=False)
    yield Check(
        "namespaces",
        result.code == 0,
        result.stderr.strip() or "mount, pid, ipc and uts work",
        remedy="allow namespaces: in a container, run it privileged",
    )
    options = "lowerdir=lower,upperdir=upper,workdir=work"
    result = run([*spaces, "mount", "-t", "overlay", "overlay", "-o", options, "root"], cwd=folder, check=False)
    kind = run(["stat", "--file-system", "--format=%T", folder], check=False).stdout.strip()
    yield Check(
        "overlayfs",
        result.code == 0,
        result.stderr.strip() or f"works on the store's {kind}",
        remedy="put the store on ext4, xfs, btrfs or tmpfs (--store); an overlay cannot lie on another one",
    )


def _disk(store: Store) -> Check:
    free = shutil.disk_usage(store.path).free
    found = f"{free / (1 << 30):.1f} GiB free for {store.path}"
    remedy = f"at least {ROOM >> 30} GiB are wanted: stagewright gc frees what no project needs, --store goes elsewhere"
    return Check("disk", free >= ROOM, found, Reason.DISK_FULL, remedy)


def _firmware(models: Iterable[type[Stage]], programs: Collection[str]) -> Iterator[Check]:
    """Firmware for the machines that are to be started, where what makes these is there."""
    for architecture, platform in PLATFORMS.items() if BootTest in models else ():
        if platform.qemu not in programs or not shutil.which(platform.qemu, path=PATH):
            continue
        name = f"UEFI firmware for {architecture}"
        try:
            found = firmware.find(firmware.machine_type(platform.machine, platform.qemu), architecture=architecture)
            yield Check(name, True, str(found.code))
        except StagewrightError as error:
            yield Check(name, False, error.message, Reason.NO_FIRMWARE, error.hint)


def _cgroups(models: Iterable[type[Stage]]) -> Iterator[Check]:
    if any(model.contained for model in models):
        fine = "cgroup2" in Path("/proc/filesystems").read_text(encoding="utf-8").split()
        remedy = "containers need control groups: a kernel with CONFIG_CGROUPS"
        yield Check("cgroup2", fine, "in the kernel" if fine else "not in the kernel", remedy=remedy)


def host_summary() -> str:
    """The machine in a line."""
    release = os.uname().release
    cores = len(os.sched_getaffinity(0))
    memory = next(
        int(line.split()[1])
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        if "MemTotal" in line
    )
    return f"Linux {release}, {cores} cores, {memory / (1 << 20):.1f} GiB of memory"
