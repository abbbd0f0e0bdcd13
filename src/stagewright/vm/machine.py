"""A QEMU machine that runs.

The serial port and QMP are socket pairs whose one end QEMU inherits by number. So there is nothing to poll for, nothing
said before a connection is lost, no path can be too long for a socket (108 bytes, unix(7)), and the end of QEMU is the
end of the stream.
"""

from __future__ import annotations

import socket
import time
import zlib
from pathlib import Path
from types import TracebackType

from stagewright import run
from stagewright.errors import Reason, StagewrightError
from stagewright.vm.accel import Acceleration
from stagewright.vm.console import Console
from stagewright.vm.firmware import Firmware
from stagewright.vm.qmp import Qmp
from stagewright.vm.spec import MachineSpec, check, prepare


class Machine:
    """A running machine, as a context manager: on leaving, QEMU is gone, whatever happened.

    ``folder`` takes the console log, QEMU's own messages, the UEFI variables and the guest's discarded writes. QEMU
    gets a parent-death signal, so no kill of ours leaves it behind. That signal comes when the *thread* that entered
    the machine ends (prctl(2)): enter and leave in one that lives as long as the machine.
    """

    def __init__(
        self,
        spec: MachineSpec,
        acceleration: Acceleration,
        folder: Path,
        *,
        firmware: Firmware | None = None,
        qemu: str = "",
    ) -> None:
        self.spec = spec
        self.folder = folder
        self.command: list[str] = []
        self.console: Console
        self._acceleration = acceleration
        self._firmware = firmware
        self._qemu = qemu
        self._process: run.Process | None = None
        self._qmp: Qmp

    @property
    def log(self) -> Path:
        """What the guest wrote to its serial port, byte by byte."""
        return self.folder / "console.log"

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        assert self._process
        return self._process.pid

    def __enter__(self) -> Machine:
        """Start QEMU. Raises ``MISSING_TOOL``, ``MISSING_FILE``, or ``BOOT_FAILED`` with what QEMU said."""
        check(self.spec, self._qemu)
        self.folder.mkdir(parents=True, exist_ok=True)
        serial, serial_end = socket.socketpair()
        control, control_end = socket.socketpair()
        with serial_end, control_end:
            ends = (serial_end.fileno(), control_end.fileno())
            wires = [
                *("-chardev", f"socket,id=serial,fd={ends[0]}", "-serial", "chardev:serial"),
                *("-chardev", f"socket,id=qmp,fd={ends[1]}", "-mon", "chardev=qmp,mode=control"),
            ]
            self.command = prepare(
                self.spec, self._acceleration, self.folder, wires, firmware=self._firmware, qemu=self._qemu
            )
            messages = self.folder / "qemu.log"
            with messages.open("wb") as stream:
                self._process = run.spawn(
                    ["setpriv", "--pdeathsig", "KILL", "--", *self.command],
                    env={"TMPDIR": str(self.folder.resolve())},  # where snapshot=on keeps what a guest writes
                    stdout=stream,
                    stderr=run.STDOUT,
                    own_session=True,
                    pass_fds=ends,
                )
        self._qmp = Qmp(control)
        self.console = Console(serial, self.log, fate=self._fate)
        try:
            self._qmp.greet()
        except (EOFError, OSError) as error:
            self._end()
            said = messages.read_text(errors="replace", encoding="utf-8").rstrip()
            detail = f"  $ {run.paste(self.command)}\n{said}"
            raise StagewrightError(Reason.BOOT_FAILED, "QEMU did not start", detail=detail) from error
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running():
            try:
                self._qmp.execute("quit", limit=5)
                self.wait(5)
            except (EOFError, OSError, ValueError, StagewrightError):
                pass  # it went on its own, or is stuck: the signals below settle it
        self._end()

    def _end(self) -> None:
        """Terminate, then kill, by pid; then close what led to it."""
        assert self._process
        if self.running():
            self._process.terminate()
            if self.wait(5) is None:
                self._process.kill()
        self._process.wait()
        self._qmp.close()
        self.console.close()

    def running(self) -> bool:
        """Whether QEMU is alive."""
        return self._process is not None and self._process.poll() is None

    def wait(self, limit: float) -> int | None:
        """QEMU's exit code as soon as it ends, or None when it still runs after ``limit`` seconds."""
        assert self._process
        end = time.monotonic() + limit
        while self._process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        return self._process.poll()

    def powerdown(self) -> None:
        """Press the power button; a guest that handles ACPI events shuts down."""
        self._qmp.execute("system_powerdown")

    def screenshot(self, path: Path) -> Path:
        """Save the screen as a PNG file (QMP screendump, format since QEMU 7.1). Raises ``BOOT_FAILED``."""
        try:
            self._qmp.execute("screendump", filename=str(path.resolve()), format="png", limit=20)
        except (EOFError, OSError) as error:
            raise StagewrightError(Reason.BOOT_FAILED, f"no picture of the screen: {error}") from error
        if not is_png(path):
            raise StagewrightError(Reason.BOOT_FAILED, f"QEMU wrote no PNG to {path}")
        return path

    def _fate(self) -> str:
        """How QEMU ended, for a reader of a console that fell silent."""
        code = self.wait(2)
        if code is None:
            return "the machine closed its serial port"
        said = (self.folder / "qemu.log").read_text(errors="replace", encoding="utf-8").strip().splitlines()
        how = "the machine ended" if code == 0 else f"QEMU ended with {code}"
        return f"{how}: {said[-1]}" if said and code else how


def is_png(path: Path) -> bool:
    """Whether a file is a PNG whose first and last chunks are whole (signature, IHDR and its CRC, IEND)."""
    data = path.read_bytes() if path.is_file() else b""
    header, crc = data[12:29], data[29:33]
    return (
        data[:8] == b"\x89PNG\r\n\x1a\n"
        and header[:4] == b"IHDR"
        and zlib.crc32(header).to_bytes(4, "big") == crc
        and data[-8:-4] == b"IEND"
    )
