"""A minimal client of QMP, QEMU's control protocol (docs/interop/qmp-spec.txt in QEMU)."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from stagewright.errors import Reason, StagewrightError


class Qmp:
    """A QMP session on a connected socket. Commands run one at a time. ``events`` are the names of those so far."""

    def __init__(self, connection: socket.socket) -> None:
        self.events: list[str] = []
        self._connection = connection
        self._pending = b""

    def greet(self, limit: float = 30.0) -> None:
        """Wait for QEMU's greeting and leave negotiation mode. Raises EOFError if QEMU ends before."""
        self._message(time.monotonic() + limit)
        self.execute("qmp_capabilities", limit=limit)

    def execute(self, command: str, *, limit: float = 10.0, **arguments: Any) -> Any:
        """Run a command and return its result.

        Raises ``BOOT_FAILED`` if QEMU reports an error; TimeoutError, EOFError or another OSError if it has ended.
        """
        request = {"execute": command, **({"arguments": arguments} if arguments else {})}
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        end = time.monotonic() + limit
        while True:
            answer = self._message(end)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                message = f"QMP command {command} failed: {answer['error'].get('desc')}"
                raise StagewrightError(Reason.BOOT_FAILED, message)

    def wait_for_event(self, name: str, limit: float) -> bool:
        """Wait for the next event of a name. Return False after ``limit`` seconds. Raises EOFError if QEMU ends."""
        seen, end = len(self.events), time.monotonic() + limit
        while name not in self.events[seen:]:
            try:
                self._message(end)
            except TimeoutError:
                return False
        return True

    def close(self) -> None:
        """End the session."""
        self._connection.close()

    def _message(self, end: float) -> dict[str, Any]:
        while b"\n" not in self._pending:
            self._connection.settimeout(max(end - time.monotonic(), 0.001))
            data = self._connection.recv(65536)
            if not data:
                raise EOFError("QEMU closed its control socket")
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        message: dict[str, Any] = json.loads(line.decode(errors="replace"))
        if "event" in message:
            self.events.append(str(message["event"]))
        return message
