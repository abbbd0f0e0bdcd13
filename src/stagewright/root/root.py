"""The root of a build: layers, a writable layer on top, and commands that run inside it in the sandbox."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import IO

from stagewright import run as processes
from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.root.network import Service, fetch_network
from stagewright.root.overlay import make_scaffold, mount_overlay
from stagewright.root.sandbox import MOUNT_POINTS, Bind, Sandboxed, sandbox
from stagewright.root.syscalls import filter_file


@dataclass(frozen=True)
class Root:
    """A mounted root. ``upper`` is its writable layer. Every command gets ``binds`` and ``env``."""

    path: Path
    upper: Path
    below: tuple[str, ...] = ()  # keys of the layers below, topmost first
    binds: tuple[Bind, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    services: tuple[Service, ...] = ()  # of this machine, for commands with a network
    log: IO[str] | None = None

    @classmethod
    def mount(
        cls,
        folder: Path,
        layers: Sequence[Path],
        *,
        keys: Sequence[str] = (),
        binds: Sequence[Bind] = (),
        log: IO[str] | None = None,
    ) -> Root:
        """Mount layers (topmost first) with ``folder/upper`` on top at ``folder/root``.

        The mount points of the sandbox exist even if no layer has them.
        """
        files = [bind.target for bind in binds if bind.source.is_file()]
        targets = [*MOUNT_POINTS, *(bind.target for bind in binds if bind.target not in files)]
        scaffold = make_scaffold(folder / "scaffold", targets, files=["/etc/resolv.conf", *files])
        mount_overlay([*layers, scaffold], folder / "upper", folder / "root")
        return cls(folder / "root", folder / "upper", tuple(keys), tuple(binds), log=log)

    def with_binds(self, *binds: Bind, **env: str) -> Root:
        """Return the root with additional mounts and variables for its commands."""
        return replace(self, binds=(*self.binds, *binds), env={**self.env, **env})

    def run(
        self,
        *command: str,
        network: bool = False,
        binds: Sequence[Bind] = (),
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], object] | None = None,
        check: bool = True,
        answer: processes.Answer | None = None,
    ) -> processes.Result:
        """Run a command inside. Its output goes to the log and to ``on_line``; without both it is returned.

        ``answer`` answers the question that the command asks.
        """
        with self.command(command, network=network, binds=binds, env=env) as sandboxed:
            try:
                run = partial(processes.converse, answer=answer) if answer else processes.run
                return run(sandboxed.words, log=self.log, on_line=on_line, check=check, pass_fds=sandboxed.descriptors)
            except StagewrightError as error:
                raise _from_inside(error, command) from error

    def ask(self, *command: str, check: bool = True) -> str:
        """Return the standard output of a command that runs inside."""
        with self.command(command) as sandboxed:
            return processes.run(sandboxed.words, check=check, pass_fds=sandboxed.descriptors).stdout

    @contextmanager
    def command(
        self,
        command: Sequence[str],
        *,
        network: bool = False,
        binds: Sequence[Bind] = (),
        env: Mapping[str, str] | None = None,
        terminal: bool = False,
    ) -> Iterator[Sandboxed]:
        """Yield a command of the host that runs ``command`` inside. It can be run only once."""
        with ExitStack() as ends:
            system_calls = ends.enter_context(filter_file())
            way_out = ends.enter_context(fetch_network(self.services)) if network else None
            words = sandbox(
                self.path,
                command,
                binds=[*self.binds, *binds],
                env={**self.env, **(env or {})},
                system_calls=system_calls,
                network=way_out,
                terminal=terminal,
            )
            yield Sandboxed(words, (system_calls, *([way_out.resolv_conf] if way_out else [])))


def _from_inside(error: StagewrightError, command: Sequence[str]) -> StagewrightError:
    """Return the error of a command without the sandbox around it. The log has the complete command line."""
    if error.reason is not Reason.COMMAND_FAILED:
        return error
    _, _, why = error.message.partition(": ")
    message = f"{Path(command[0]).name}: {why}"
    _, _, output = error.detail.partition("\n")
    return StagewrightError(error.reason, message, detail=f"  (inside the root) $ {shlex.join(command)}\n{output}")
