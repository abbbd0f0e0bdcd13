"""Run a QEMU machine.

The serial port and QMP are socket pairs. QEMU inherits one end of each by its descriptor number. Nothing has to be
polled, no output is lost before a connection, no socket path exceeds 108 bytes (unix(7)), and the stream ends when QEMU
ends.
"""

from __future__ import annotations

import contextlib
import socket
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from stagewright import run
from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.vm.accel import Acceleration
from stagewright.vm.console import Console
from stagewright.vm.firmware import Firmware
from stagewright.vm.machine_spec import MachineSpec, check, prepare
from stagewright.vm.qmp import Qmp
from stagewright.vm.tpm import Tpm


@dataclass(frozen=True)
class Card:
    """A network card on a cable. ``cable`` is QEMU's end of a connected stream socket, ``address`` is the MAC."""

    cable: socket.socket
    address: str

    def arguments(self, number: int) -> list[str]:
        """Return QEMU's arguments. Its boot index is after those of all disks and of the card of ``network``."""
        words = ["-netdev", f"socket,id=cable{number},fd={self.cable.fileno()}"]
        return [*words, "-device", f"virtio-net-pci,netdev=cable{number},mac={self.address},bootindex={100 + number}"]


class Machine:
    """A running machine, as a context manager that stops QEMU on every way out.

    ``folder`` holds the console log, QEMU's messages, the UEFI variables and the guest's discarded writes. ``cards``
    are network cards in addition to that of the specification; the machine closes their cables. ``started`` is the
    time of the first start of a machine that starts again: its logs go on.

    QEMU has a parent-death signal, so it also ends if Stagewright is killed. The kernel sends this signal when the
    *thread* that entered the machine ends (prctl(2)): enter and leave in a thread that lives as long as the machine.
    """

    def __init__(
        self,
        spec: MachineSpec,
        acceleration: Acceleration,
        folder: Path,
        *,
        firmware: Firmware | None = None,
        qemu: str = "",
        cards: Sequence[Card] = (),
        started: float | None = None,
    ) -> None:
        self.spec = spec
        self.folder = folder
        self.command: list[str] = []
        self.console: Console
        self._acceleration = acceleration
        self._firmware = firmware
        self._qemu = qemu
        self._cards = tuple(cards)
        self._started = started
        self._process: run.Process | None = None
        self._resources = contextlib.ExitStack()
        self._qmp: Qmp

    @property
    def log(self) -> Path:
        """Path of the log with every byte that the guest wrote to its serial port."""
        return self.folder / "console.log"

    @property
    def _messages(self) -> Path:
        """Path of QEMU's own output."""
        return self.folder / "qemu.log"

    @property
    def pid(self) -> int:
        """Process id of QEMU."""
        assert self._process
        return self._process.pid

    def __enter__(self) -> Machine:
        """Start QEMU.

        Raises ``MISSING_TOOL`` or ``MISSING_FILE``, or ``BOOT_FAILED`` with QEMU's messages. On every error QEMU is
        stopped and its sockets and logs are closed.
        """
        check(self.spec, self._qemu)
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            serial, serial_end = map(stack.enter_context, socket.socketpair())
            control, control_end = map(stack.enter_context, socket.socketpair())
            ends = [serial_end.fileno(), control_end.fileno()]
            wires = [
                *("-chardev", f"socket,id=serial,fd={ends[0]}", "-serial", "chardev:serial"),
                *("-chardev", f"socket,id=qmp,fd={ends[1]}", "-mon", "chardev=qmp,mode=control"),
            ]
            for number, card in enumerate(self._cards):
                stack.enter_context(card.cable)
                wires += card.arguments(number)
                ends.append(card.cable.fileno())
            if self.spec.tpm:
                tpm = stack.enter_context(Tpm(self.folder / "tpm", self.spec.architecture))
                wires += tpm.arguments
                ends.append(tpm.descriptor)
            self.command = prepare(
                self.spec, self._acceleration, self.folder, wires, firmware=self._firmware, qemu=self._qemu
            )
            self._qmp = Qmp(control)
            self.console = Console(
                serial, self.log, fate=self._fate, append=self._started is not None, started=self._started
            )
            stack.callback(self.console.close)
            stack.callback(self._stop)  # runs before the console is closed, so that the log is complete
            self._process = self._spawn(ends)
            for end in (serial_end, control_end, *(card.cable for card in self._cards)):
                end.close()
            self._greet()
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._resources:
            if self.running():
                # QEMU may have ended meanwhile, or hang: the signals of _stop end it then
                with contextlib.suppress(EOFError, OSError, ValueError, StagewrightError):
                    self._qmp.execute("quit", limit=5)
                    self.wait(5)

    def _spawn(self, ends: Sequence[int]) -> run.Process:
        """Start the QEMU process, which inherits its ends of the sockets."""
        with self._messages.open("wb") as stream:
            return run.spawn(
                ["setpriv", "--pdeathsig", "KILL", "--", *self.command],
                env={"TMPDIR": str(self.folder.resolve())},  # snapshot=on keeps the guest's writes there
                stdout=stream,
                stderr=run.STDOUT,
                own_session=True,
                pass_fds=ends,
            )

    def _greet(self) -> None:
        """Open the QMP session. Raises ``BOOT_FAILED`` with QEMU's messages if QEMU ended or does not answer."""
        try:
            self._qmp.greet()
        except (EOFError, OSError) as error:
            self._stop()  # QEMU's messages are complete only after its end
            said = self._messages.read_text(errors="replace", encoding="utf-8").rstrip()
            detail = f"  $ {run.paste(self.command)}\n{said}"
            raise StagewrightError(Reason.BOOT_FAILED, "QEMU did not start", detail=detail) from error

    def _stop(self) -> None:
        """Terminate QEMU by its pid, kill it after 5 s, and reap it."""
        if self._process is None:
            return
        if self.running():
            self._process.terminate()
            if self.wait(5) is None:
                self._process.kill()
        self._process.wait()

    def running(self) -> bool:
        """Return True if QEMU is running."""
        return self._process is not None and self._process.poll() is None

    def wait(self, limit: float) -> int | None:
        """Wait up to ``limit`` seconds for QEMU to end. Return its exit code, or None if it still runs."""
        assert self._process
        end = time.monotonic() + limit
        while self._process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        return self._process.poll()

    @property
    def control(self) -> Qmp:
        """The QMP session with QEMU."""
        return self._qmp

    def monitor(self, command: str) -> str:
        """Run a command of the monitor for people (QMP human-monitor-command). Return its output: an error, or ""."""
        words: dict[str, Any] = {"command-line": command}
        return str(self._qmp.execute("human-monitor-command", **words))

    def powerdown(self) -> None:
        """Press the power button. A guest that handles ACPI events shuts down."""
        self._qmp.execute("system_powerdown")

    def screenshot(self, path: Path) -> Path:
        """Save the screen as a PNG file and return its path (QMP screendump; ``format`` needs QEMU 7.1).

        Raises ``BOOT_FAILED`` if QEMU does not answer or writes no valid PNG.
        """
        try:
            self._qmp.execute("screendump", filename=str(path.resolve()), format="png", limit=20)
        except (EOFError, OSError) as error:
            raise StagewrightError(Reason.BOOT_FAILED, f"screenshot failed: {error}") from error
        if not is_png(path):
            raise StagewrightError(Reason.BOOT_FAILED, f"screenshot: QEMU wrote no valid PNG to {path}")
        return path

    def _fate(self) -> str:
        """Return a sentence that says how QEMU ended, for errors of the console."""
        code = self.wait(10)  # the socket is closed before the process has ended
        if code is None:
            return "the machine closed its serial port"
        said = self._messages.read_text(errors="replace", encoding="utf-8").strip().splitlines()
        how = "the machine ended" if code == 0 else f"QEMU ended with exit code {code}"
        return f"{how}: {said[-1]}" if said and code else how


def is_png(path: Path) -> bool:
    """Return True if a file is a PNG with complete first and last chunks (signature, IHDR with its CRC, IEND)."""
    data = path.read_bytes() if path.is_file() else b""
    header, crc = data[12:29], data[29:33]
    return (
        data[:8] == b"\x89PNG\r\n\x1a\n"
        and header[:4] == b"IHDR"
        and zlib.crc32(header).to_bytes(4, "big") == crc
        and data[-8:-4] == b"IEND"
    )
