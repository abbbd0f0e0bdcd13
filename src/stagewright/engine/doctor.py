"""The requirements of a build: rights, kernel features, programs, free space, and what the settings name.

``stagewright doctor`` shows every check. A build does the same checks for the nodes that it makes, and fails before the
first of them if one does not pass.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stagewright import ids
from stagewright.engine.worker import isolated
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.graph.node import Node
from stagewright.id_ranges import SIZE, private_range
from stagewright.interpreter import package_path
from stagewright.kinds.common.base import Stage
from stagewright.kinds.common.signing_keys import signing_keys
from stagewright.kinds.common.tools import FETCH_NETWORK, SANDBOX, TAR, Tool
from stagewright.kinds.registry import by_kind, tool_of
from stagewright.kinds.tests.boots import BootTest
from stagewright.project.limits import PROCESSES
from stagewright.project.model import Repo
from stagewright.root import syscalls
from stagewright.root.limit_groups import NO_PLACE, LimitGroup
from stagewright.root.overlay import options_of_overlays
from stagewright.run import PATH, run
from stagewright.store.store import Store
from stagewright.vm import firmware
from stagewright.vm.machine_spec import PLATFORMS

BASE = (
    Tool("unshare", "util-linux", "sys-apps/util-linux"),
    Tool("nsenter", "util-linux", "sys-apps/util-linux"),
    Tool("setpriv", "util-linux", "sys-apps/util-linux[-static]"),
    Tool("mount", "mount", "sys-apps/util-linux"),
    Tool("sync", "coreutils", "sys-apps/coreutils"),
    SANDBOX,
)

USERS = (
    Tool("newuidmap", "uidmap", "sys-apps/shadow"),
    Tool("newgidmap", "uidmap", "sys-apps/shadow"),
)

REPOSITORY_TOOLS = {
    "path": (),
    "git": (Tool("git", "git", "dev-vcs/git"),),
    "squashfs": (Tool("unsquashfs", "squashfs-tools", "sys-fs/squashfs-tools"), SANDBOX),
    "snapshot": (TAR, SANDBOX),
}
"""Programs that fetching a repository needs, by the key that says where it comes from."""

VERIFIER = Tool("gpg", "gnupg", "app-crypt/gnupg")

TUNNEL = "/dev/net/tun"
"""Device for networks that programs make, as fetch steps have."""

FREE_SPACE = 2 << 30
"""Bytes that must be free for the store before a build starts."""


@dataclass(frozen=True)
class Check:
    """One check: its name, if it passed, what was found, and what to do if it did not pass."""

    name: str
    fine: bool
    found: str
    reason: Reason = Reason.HOST_FEATURE
    remedy: str = ""

    def problem(self) -> StagewrightError:
        """Return the error for a check that did not pass."""
        return StagewrightError(self.reason, f"{self.name}: {self.found}", hint=self.remedy)


def examine_nodes(store: Store, nodes: Iterable[Node], repos: Iterable[Repo] = ()) -> list[Check]:
    """Return all checks for building these nodes with this store, and for fetching these repositories."""
    wanted = list(nodes)
    checks = examine(store, {node.kind for node in wanted}, {tool for node in wanted for tool in node.tools}, repos)
    failed = [
        Check(node.id, False, problem.message, problem.reason, problem.hint)
        for node in wanted
        for problem in missing_of(node)
    ]
    return [*checks, *failed, *_tokens(wanted, {check.name for check in failed})]


def examine(
    store: Store, kinds: Iterable[str], programs: Iterable[str] = (), repos: Iterable[Repo] = ()
) -> list[Check]:
    """Return the checks for kinds in general. ``programs`` are further tools, which only some settings need."""
    models = [by_kind()[kind] for kind in sorted(set(kinds))]
    tools = [*(tool for model in models for tool in model.required_tools), *map(tool_of, programs), *_tools_of(repos)]
    rights, closed = _rights(), list(_closed(store))
    checks = [
        rights,
        *_tools([*BASE, *_for_users(), *tools]),
        _system_calls(),
        *_tunnel(tools),
        *closed,
        *(_kernel(store) if rights.fine and not closed else ()),
        _disk(store),
        _limits(),
    ]
    return [*checks, *_firmware(models, {tool.program for tool in tools}), *_cgroups(models)]


def require(store: Store, nodes: Iterable[Node]) -> None:
    """Raise everything that building these nodes needs of this machine and is missing."""
    wanted = list(nodes)
    checks = examine(store, {node.kind for node in wanted}, {tool for node in wanted for tool in node.tools})
    problems = [check.problem() for check in checks if not check.fine]
    problems += [problem for node in wanted for problem in missing_of(node)]
    if problems:
        raise ProblemsError(problems)


def require_programs(nodes: Iterable[Node] = ()) -> None:
    """Raise every program that is missing of those that workers and the kinds of these nodes need."""
    wanted = list(nodes)
    models = [by_kind()[kind] for kind in sorted({node.kind for node in wanted})]
    tools = [*BASE, *_for_users(), *(tool for model in models for tool in model.required_tools)]
    tools += [tool_of(name) for node in wanted for name in node.tools]
    if problems := [check.problem() for check in _tools(tools) if not check.fine]:
        raise ProblemsError(problems)


def require_for_repos(repos: Iterable[Repo]) -> None:
    """Raise every program that looking up or fetching these repositories needs and that is missing."""
    problems = [check.problem() for check in _tools(_tools_of(repos)) if not check.fine]
    if problems:
        raise ProblemsError(problems)


def missing_of(node: Node) -> Iterator[StagewrightError]:
    """Yield what the settings of a node need of this machine and is missing, with the place of its entry."""
    assert isinstance(node.settings, Stage)
    problems = [*node.settings.missing()]
    for keys in signing_keys(node):
        problems += keys.missing(node.files.settings)
    yield from (problem.at(node.place) if node.place else problem for problem in problems)


def _tokens(nodes: Iterable[Node], failed: Collection[str]) -> Iterator[Check]:
    """Yield the keys on tokens of nodes that have all they need."""
    for node in nodes:
        for keys in signing_keys(node) if node.id not in failed else ():
            if keys.token:
                found = f"{keys.token.setting} is on {keys.token.uri.token}, and belongs to {keys.certificate}"
                yield Check(node.id, True, found)


def _tools_of(repos: Iterable[Repo]) -> Iterator[Tool]:
    for repo in repos:
        yield from REPOSITORY_TOOLS[repo.origin]
        if repo.moves and (repo.verified or repo.manifests):
            yield VERIFIER


def _for_users() -> tuple[Tool, ...]:
    """Return the programs that give ordinary users ids for builds."""
    return () if os.geteuid() == 0 or ids.as_host_root() else USERS


def _rights() -> Check:
    """Check that the user has ids for builds."""
    user = os.geteuid()
    if ids.as_host_root():
        return Check("rights", user == 0, f"uid {user}", Reason.NOT_ROOT, "run as root, or without --as-host-root")
    try:
        found = private_range()
    except StagewrightError as error:
        return Check("rights", False, error.message, error.reason, error.hint)
    return Check("rights", True, f"uid {user}; builds run as {found.uid} to {found.uid + SIZE - 1}")


def _tools(tools: Iterable[Tool]) -> Iterator[Check]:
    wanted = {tool.program: tool for tool in tools}
    for program, tool in sorted(wanted.items()):
        path = shutil.which(program, path=PATH)
        yield Check(program, path is not None, path or "not installed", Reason.MISSING_TOOL, tool.remedy)


def _system_calls() -> Check:
    """Compile the filter of system calls, as every worker does."""
    try:
        syscalls.compiled()
    except StagewrightError as error:
        return Check("seccomp", False, error.message, error.reason, error.hint)
    return Check("seccomp", True, "the filter of system calls compiles")


def _tunnel(tools: Collection[Tool]) -> Iterator[Check]:
    """Open the device that slirp4netns needs."""
    if FETCH_NETWORK in tools:
        try:
            os.close(os.open(TUNNEL, os.O_RDWR | os.O_CLOEXEC))
            yield Check(TUNNEL, True, "can be opened")
        except OSError as error:
            remedy = f"modprobe tun; chmod 666 {TUNNEL}; in a container: --device {TUNNEL}"
            yield Check(TUNNEL, False, error.strerror or "", remedy=remedy)


def _closed(store: Store) -> Iterator[Check]:
    """Yield a check that did not pass if this user cannot build with the store."""
    try:
        Store(store.path)
    except StagewrightError as error:
        yield Check("store", False, error.message, error.reason, error.hint)


def _kernel(store: Store) -> Iterator[Check]:
    """Mount an overlay in new namespaces in the store, as every worker does."""
    if not all(shutil.which(tool.program, path=PATH) for tool in (*BASE, *_for_users())):
        return
    try:
        with Store(store.path).scratch("doctor") as folder:  # the given one may be for reading
            yield from _mounting(folder)
    except OSError as error:
        yield Check(
            "store", False, f"cannot be written to: {error.strerror}", Reason.DISK_FULL, "free space, or use --store"
        )


def _mounting(folder: Path) -> Iterator[Check]:
    for name in ("lower", "upper", "work", "root"):
        (folder / name).mkdir()
    or_not = "" if ids.as_host_root() else "; or use --as-host-root if you trust everything that a build runs"
    try:
        result = run(isolated(["true"]), check=False)
    except StagewrightError as error:
        yield Check("namespaces", False, error.message, error.reason, error.hint)
        return
    yield Check(
        "namespaces",
        result.code == 0,
        result.stderr.strip() or "mount, pid, ipc and uts work"
        if ids.as_host_root()
        else "user, mount, pid, ipc and uts work",
        remedy=f"allow namespaces; if this is a container, run it with --privileged{or_not}",
    )
    yield from _code()
    if not ids.as_host_root() and (problem := _attributes(folder / "upper")):
        yield problem
        return
    options = f"lowerdir=lower,upperdir=upper,workdir=work,{options_of_overlays()}"
    words = isolated(["mount", "-t", "overlay", "overlay", "-o", options, "root"])
    result = run(words, cwd=folder, check=False)
    kind = run(["stat", "--file-system", "--format=%T", folder], check=False).stdout.strip()
    yield Check(
        "overlayfs",
        result.code == 0,
        result.stderr.strip() or f"works on the {kind} of the store",
        remedy="put the store on ext4, xfs, btrfs or tmpfs with --store; an overlay on an overlay is not supported"
        + (", and in a user namespace none before Linux 5.11" + or_not if or_not else ""),
    )


def _code() -> Iterator[Check]:
    """Look for the interpreter and the code as the worker of an ordinary user does, which lacks rights of groups."""
    for path in () if os.geteuid() == 0 else (sys.executable, package_path()):
        if run(isolated(["test", "-r", path]), check=False).code:
            info = Path(path).stat()
            found = f"{path}: workers cannot read it (owner {info.st_uid}, group {info.st_gid})"
            yield Check("code", False, found, remedy=f"chmod -R go+rX {path}, and its folders")


def _attributes(folder: Path) -> Check | None:
    """Return a check that fails if files cannot have the attributes that overlays in a user namespace need."""
    try:
        os.setxattr(folder, "user.overlay.probe", b"y")
        os.removexattr(folder, "user.overlay.probe")
    except OSError as error:
        found = f"the file system of the store has no user attributes ({error.strerror})"
        remedy = "put the store on ext4, xfs or btrfs with --store; tmpfs has them since Linux 6.6"
        return Check("overlayfs", False, found, remedy=remedy)
    return None


def _limits() -> Check:
    """Make groups as a worker does, because what looks possible can be forbidden."""
    group = LimitGroup.make(f"doctor-{os.getpid()}", 1 << 30, PROCESSES, swap=True)
    found = str(group.place or NO_PLACE)
    group.remove()
    return Check("limits", True, found)


def _disk(store: Store) -> Check:
    folder = next(path for path in (store.path, *store.path.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    found = f"{free / (1 << 30):.1f} GiB free for {store.path}"
    remedy = f"at least {FREE_SPACE >> 30} GiB are needed: run stagewright gc, or use another disk with --store"
    return Check("disk", free >= FREE_SPACE, found, Reason.DISK_FULL, remedy)


def _firmware(models: Iterable[type[Stage]], programs: Collection[str]) -> Iterator[Check]:
    """Look for the firmware of virtual machines that are installed and that boot tests start."""
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
        remedy = "use a kernel with CONFIG_CGROUPS: containers need control groups"
        yield Check(
            "cgroup2", fine, "supported by the kernel" if fine else "not supported by the kernel", remedy=remedy
        )


def host_summary() -> str:
    """Return the kernel, the cores and the memory of this machine in one line."""
    release = os.uname().release
    cores = len(os.sched_getaffinity(0))
    memory = next(
        int(line.split()[1])
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        if "MemTotal" in line
    )
    return f"Linux {release}, {cores} cores, {memory / (1 << 20):.1f} GiB of memory"
