"""The ways in which ``stagewright boot`` starts a machine: on the terminal, for a picture, for a login by SSH."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.run import describe
from stagewright.store.place import is_full
from stagewright.ui.streams import note
from stagewright.vm import ssh
from stagewright.vm.accel import Acceleration
from stagewright.vm.display import Graphic, Screen, screen
from stagewright.vm.interactive import terminal
from stagewright.vm.machine import Machine
from stagewright.vm.machine_spec import MachineSpec
from stagewright.vm.picture import take_picture

PICTURE, LOGIN, SHUTDOWN = 20.0, 600.0, 180.0
"""Seconds until a picture is taken, for the start of an SSH server, and for a shutdown."""


@dataclass(frozen=True)
class Start:
    """A machine that is ready to start.

    ``folder`` has its files, and ``work`` the sockets of its screen. ``seconds`` is the time for a picture or a login.
    """

    spec: MachineSpec
    folder: Path
    work: Path
    acceleration: Acceleration
    graphic: str | None = None
    seconds: float | None = None

    def shown(self) -> Start:
        """Return the machine with its screen, if that is wanted, and say where it is."""
        return self._with_screen()[0]

    def _with_screen(self) -> tuple[Start, Screen]:
        shown = Screen(("-display", "none"))
        if self.graphic:
            shown = screen(Graphic(self.graphic), self.spec.platform.qemu, self.work)
        if shown.notice:
            note(shown.notice)
        return replace(self, spec=replace(self.spec, screen=shown.arguments)), shown

    def on_terminal(self) -> int:
        """Start the machine with its serial console on the terminal. Return the exit code of QEMU."""
        ready, shown = self._with_screen()
        console = terminal(ready.spec, self.folder, self.acceleration, pass_on=shown.variables)
        note(console.notice)
        code = console.run()
        self.check_space()
        if code:
            note(f"QEMU: {describe(code)}")
        return code

    def for_picture(self, target: Path, text: str) -> int:
        """Start the machine, save its screen, and stop it."""
        spec = self.shown().spec
        seconds = PICTURE if self.seconds is None else self.seconds
        take_picture(spec, self.folder, self.acceleration, target, seconds=seconds, text=text)
        return 0

    def for_login(self, words: Sequence[str], by: ssh.KeyBy) -> int:
        """Start the machine, log in by SSH, and stop it. Return the exit code of the command or shell.

        A machine that keeps its disk is shut down, so that the disk is complete.
        """
        access = ssh.new_access(self.folder)
        spec = ssh.with_access(self.shown().spec, access, by)
        with Machine(spec, self.acceleration, self.folder, firmware=spec.find_firmware()) as machine:
            note(f"waiting for the SSH server of the machine ({self.acceleration.name}: {self.acceleration.why})")
            limit = LOGIN if self.seconds is None else self.seconds
            code = ssh.log_in(ssh.wait_for_login(machine, access, limit), words)
            if spec.keep_writes and machine.running():
                machine.powerdown()
                if machine.wait(SHUTDOWN) is None:
                    note(f"the machine did not shut down in {SHUTDOWN:.0f} s: its disk may be incomplete")
        self.check_space()
        return code

    def check_space(self) -> None:
        """Raise ``DISK_FULL`` if the machine may have filled the file system with its writes."""
        if is_full(self.folder):
            what = f"{self.folder}: the file system is full, so writes of the machine may have failed"
            raise StagewrightError(Reason.DISK_FULL, what, hint="free some space, or use --keep with another folder")


def check_ports(ports: Iterable[int]) -> None:
    """Raise ``USAGE`` or ``NOT_ROOT`` if this computer cannot listen on one of the ports."""
    taken: set[int] = set()
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # QEMU sets it, too
            try:
                probe.bind((ssh.LOOPBACK, port))
                probe.listen()
            except OSError as error:
                if error.errno == errno.EACCES:
                    hint = "use a port from 1024 on, or run as root"
                    what = f"--forward {port}: only root may listen on this port"
                    raise StagewrightError(Reason.NOT_ROOT, what, hint=hint) from error
                what = f"--forward {port}: cannot listen on this port ({error.strerror})"
                raise StagewrightError(Reason.USAGE, what, hint="use another port") from error
        if port in taken:
            raise StagewrightError(Reason.USAGE, f"--forward {port}: given twice", hint="use another port")
        taken.add(port)
