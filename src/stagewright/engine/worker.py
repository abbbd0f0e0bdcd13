"""A worker: one process that builds one node, in separate namespaces.

No process of a worker outlives the engine (:func:`isolated`). If the engine dies, the kernel kills unshare(1), because
setpriv(1) asked for that. If unshare dies, the kernel kills the worker (``--kill-child``). The worker is process 1 of
its pid namespace, so the kernel kills everything in there with it, and its mounts were never visible outside. If the
engine died before setpriv made its request, the worker finds its standard input closed and exits.

The worker writes events to standard output as JSON lines. The output of its commands goes to the log.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import shutil
import stat
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from stagewright import chroot, ids
from stagewright.engine.again import AGAIN, REPLACE, FreshStore, keep_result
from stagewright.engine.job import Job
from stagewright.errors import Reason, StagewrightError, internal_error
from stagewright.events import Event, NodeFinished, Status
from stagewright.graph.code_digest import code_digest
from stagewright.graph.node import Yields
from stagewright.interpreter import package_path, python
from stagewright.kinds.common.artifact import ArtifactKind
from stagewright.kinds.common.facts import Facts, LayerFacts
from stagewright.kinds.common.packages import PackageStage
from stagewright.kinds.common.work import Built, Work
from stagewright.release.size_limits import check_size
from stagewright.root import files
from stagewright.root.root import Root
from stagewright.run import PATH, UMASK, exit_if_orphaned, full_disk_lines, interactive
from stagewright.store.digest_cache import DigestCache
from stagewright.store.meta import Meta
from stagewright.store.place import disk_full, is_full
from stagewright.trees import give, make_read_only, tree_size

FETCHED = "fetched.json"
"""File with the answer of a worker in the mode ``fetch``: the paths of the distfiles that the node needs."""

_UNMAPPED = 65534  # how the kernel shows an id that the namespace does not have

SHELL = ("/bin/bash", "/bin/sh", "/bin/busybox")
"""Shells for ``stagewright shell``; the first one that the root has is used."""


def shell_command(folder: Path, *arguments: str, result: bool = False) -> list[str]:
    """Return the command of a shell for the job in a work folder, as a child that dies with this process.

    It enters the root as the build sees it, or with ``result`` what the build has made.
    """
    return isolated(worker_command(folder, "look" if result else "shell", *arguments))


def worker_command(folder: Path, mode: str, *arguments: str) -> list[str]:
    """Return the command of a worker without namespaces. It imports from where this process did."""
    return python("stagewright.engine.worker", package_path(), mode, str(folder), *arguments)


def isolated(inner: list[str], *, own_network: bool = False, private_ids: bool = True) -> list[str]:
    """Return a command that runs ``inner`` in new namespaces and ends with this process.

    The namespaces are those of mounts, processes, IPC, the host name and, with ``own_network``, the network. With
    ``private_ids`` they are in the user namespace of workers (``ids.py``). There, a program of the host with the setuid
    bit would run without the worker's capabilities. So ``--no-new-privs`` makes the kernel ignore this bit.
    """
    namespaces = ["unshare", "--mount", "--propagation", "private", "--pid", "--ipc", "--uts"]
    namespaces += ["--net"] if own_network else []
    if not private_ids and os.geteuid() != 0:
        namespaces += ["--user", "--map-root-user"]  # without it, an ordinary user could not make the others
    entered = ids.enter() if private_ids else []
    guard = ["setpriv", "--pdeathsig", "KILL", *(["--no-new-privs"] if entered else []), "--"]
    return [*entered, *guard, *namespaces, "--fork", "--kill-child", "--mount-proc", *ids.marked(), *inner]


def main(package: str, mode: str, folder: Path, arguments: list[str]) -> int:
    """Run a job and return the exit code: 0 if it succeeded. ``package`` is the engine's :func:`package_path`."""
    os.umask(UMASK)
    job = Job.read(folder)
    if mode in ("shell", "look"):
        return _shell(job, folder, arguments, result=mode == "look")
    exit_if_orphaned()
    tempfile.tempdir = str(folder)  # a killed worker leaves temporary files, and the store removes this folder
    out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # other output goes to the log; the engine gets events only

    def emit(event: Event) -> None:
        out.write(event.to_json() + "\n")

    started = time.monotonic()
    error: StagewrightError | None = None
    size = 0
    log = open(job.log, "a", encoding="utf-8", buffering=1)  # noqa: PTH123, SIM115  line buffering; closing it may fail on a full disk
    try:
        _check_source(job, package)
        work = job.work(folder, log, emit)
        if mode == "pin":
            _pin(job, work, folder)
        elif mode == "fetch":
            _fetch(job, work, folder)
        else:
            size = _build(job, work, mode)
    except BaseException as problem:  # noqa: BLE001  the engine raises it
        error = _as_error(problem, folder)
        with contextlib.suppress(OSError):
            log.write(f"\n!!! {error}\n")
    with contextlib.suppress(OSError):
        log.close()
    seconds = time.monotonic() - started
    status = Status.FAILED if error else Status.BUILT
    data = error.to_dict() if error else None
    emit(NodeFinished(node=job.node.id, status=status, seconds=seconds, size=size, error=data))
    return 1 if error else 0


def _check_source(job: Job, package: str) -> None:
    """Raise ``BUILD_FAILED`` if this process runs other code than the engine, which computed the keys."""
    if package_path() != package:
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"the worker imported another Stagewright ({package_path()}) than the engine ({package})",
            hint=f"look for a .pth file or a sitecustomize module of {sys.executable} that changes sys.path",
        )
    with DigestCache(job.store / "cache" / "digests.db") as cache:
        code = code_digest(type(job.stage).__module__, cache.recall)
    if job.key.data.get("code", code) != code:  # the job for a pin has no key
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"the source code of Stagewright changed during the build ({package})",
            hint="run the same command again",
        )


def _build(job: Job, work: Work[Any], mode: str) -> int:
    """Build the node, commit the result to the store or keep it (engine/again.py), and return its size in bytes."""
    stage, node, key = job.stage, job.node, job.key
    if mode in (AGAIN, REPLACE):
        work = replace(work, store=FreshStore(job.store, work.folder))
    built = stage.build(work)
    if isinstance(stage, ArtifactKind) and stage.size_limit:
        check_size(node.id, built.tree, built.facts.main_file, stage.size_limit)
    if node.yields is Yields.ARTIFACT:
        make_read_only(built.tree)  # output folders and other artifacts hold hard links to the files
        if ids.is_private():
            give(built.tree, ids.INVOKER, ids.INVOKER)
    size = tree_size(built.tree)
    if mode == AGAIN:
        keep_result(built, node.yields, work.folder)
        return size
    stack = [key.digest, *built.below] if node.yields is Yields.LAYER else []
    facts = _facts(built, work).to_dict()
    meta = Meta(key.digest, node.id, node.kind, time.time(), size, key.data, stack, facts)
    work.store.commit(
        built.tree, node.yields, meta, built.binpkgs, built.records, digested=built.digested, again=mode == REPLACE
    )
    return size


def _facts(built: Built, work: Work[Any]) -> Facts:
    """Return the facts of a build; a layer also records which stage the compiler of its root comes from."""
    facts = built.facts
    if not built.below or not isinstance(facts, LayerFacts) or facts.toolchain:
        return facts
    below = work.store.meta(Yields.LAYER, built.below[0])
    return facts.model_copy(update={"toolchain": LayerFacts.of(below).compiler(below.stack)})


def _pin(job: Job, work: Work[Any], folder: Path) -> None:
    (folder / "pin.json").write_text(json.dumps(job.stage.pin(work)), encoding="utf-8")


def _fetch(job: Job, work: Work[Any], folder: Path) -> None:
    stage = job.stage
    assert isinstance(stage, PackageStage), "the engine fetches for these kinds only"
    (folder / FETCHED).write_text(json.dumps(stage.fetch(work, other_root=job.other_root)), encoding="utf-8")


def _shell(job: Job, folder: Path, arguments: list[str], *, result: bool) -> int:
    with open(job.log, "a", encoding="utf-8", buffering=1) as log:  # noqa: PTH123  line buffering
        work = job.work(folder, log, lambda _: None)
        root = _result(work) if result else job.stage.shell_root(work)
    words = arguments or _shell_of(job.node.id, root)
    if not _is_program(words[0], root):
        what = f"{job.node.id}: no program {words[0]} in this root"
        raise StagewrightError(Reason.ENVIRONMENT_LACKS, what, hint="name a program of the root, or its path there")
    prompt = f"{job.node.id} \\w # "
    # The profile of a root may set another prompt, as Debian's does; bash runs this command after it, before a prompt.
    env = {"PS1": prompt, "PROMPT_COMMAND": f"PS1={shlex.quote(prompt)}; unset PROMPT_COMMAND"}
    with root.command(words, env=env, terminal=True) as sandboxed:
        return interactive(sandboxed.words, pass_fds=sandboxed.descriptors)


def _shell_of(node: str, root: Root) -> list[str]:
    """Return the command of the best shell that a root has. Raises ``ENVIRONMENT_LACKS`` if it has none."""
    for shell in SHELL:
        if files.exists(root.path, shell):
            return [shell, *(["sh"] if shell == "/bin/busybox" else [])]
    what = f"{node}: this root has no shell (looked for {', '.join(SHELL)})"
    hint = f"name a program of the root: stagewright shell {node.rpartition(':')[2]} -- PROGRAM"
    raise StagewrightError(Reason.ENVIRONMENT_LACKS, what, hint=hint)


def _is_program(word: str, root: Root) -> bool:
    """Return False if a root does not have a program. A path in a mount is not looked at."""
    if "/" in word and (not word.startswith("/") or any(Path(word).is_relative_to(bind.target) for bind in root.binds)):
        return True
    return chroot.inside(root.path, shutil.which, word, path=root.env.get("PATH", PATH)) is not None


def _result(work: Work[Any]) -> Root:
    """Mount the root that the node has made, with a writable layer on top."""
    key = work.key.digest
    keys = work.store.meta(Yields.LAYER, key).stack
    return work.runnable(Root.mount(work.folder, work.store.stack(key), keys=keys, log=work.log))


def _as_error(problem: BaseException, folder: Path) -> StagewrightError:
    """Return an exception as an error of Stagewright. A full disk is the reason of any error that it caused."""
    if is_full(folder) and getattr(problem, "reason", None) is not Reason.DISK_FULL:
        return disk_full(f"disk full: {folder}", _cause(problem))  # commands report it in many ways
    if isinstance(problem, StagewrightError):
        return problem
    if error := disk_error(problem) or _not_permitted(problem):
        return error
    if isinstance(problem, OSError) and problem.errno == errno.ENAMETOOLONG:
        message = f"a path is too long: folders are too deep (found {str(problem.filename)[:60]}...)"
        return StagewrightError(Reason.BUILD_FAILED, message, hint="remove them, or copy less")
    return internal_error(problem)


def _cause(problem: BaseException) -> str:
    """Return what an error says about a full disk, without the output and the hint that lead elsewhere."""
    if not isinstance(problem, StagewrightError):
        return str(problem)
    return "\n".join(dict.fromkeys([problem.message, *full_disk_lines(problem.detail)]))


def _not_permitted(problem: BaseException) -> StagewrightError | None:
    """Return the error for a file that this worker may not open; None if that is not the problem.

    The rights of a worker over a file need its owner and its group in the user namespace (user_namespaces(7)).
    """
    if not (isinstance(problem, PermissionError) and problem.filename and ids.is_private()):
        return None
    path = Path(os.fsdecode(problem.filename))
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            info = place.stat()
            break
    user, group = ids.outside(info.st_uid), ids.outside(info.st_gid, "gid")
    shown = [f"{one} (not in the namespace of builds)" if one == _UNMAPPED else one for one in (user, group)]
    return StagewrightError(
        Reason.MISSING_FILE,
        f"{path}: the build may not use it ({problem.strerror}; {place}: owner {shown[0]}, group {shown[1]},"
        f" mode {stat.S_IMODE(info.st_mode):04o})",
        hint=f"give it to your own user and group: chown -R USER:GROUP {place}",
    )


def disk_error(problem: BaseException) -> StagewrightError | None:
    """Return the error for a disk that is full, read-only or broken; None for any other exception."""
    number = problem.errno if isinstance(problem, OSError) else None
    where = str(getattr(problem, "filename", None) or "the store")
    if number in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(f"disk full: {where}")
    if number in (errno.EROFS, errno.EIO):
        what = f"{where}: cannot be used ({os.strerror(number)})"
        return StagewrightError(Reason.STORE_FAILED, what, hint="dmesg shows errors of the disk")
    return None


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4:]))
    except StagewrightError as failure:
        os.write(2, f"error: {failure}\n".encode(errors="backslashreplace"))
        sys.exit(failure.reason.exit)
