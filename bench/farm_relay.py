"""``python -m bench.farm_relay``: pass on connections of TCP, and make them slow as long as a file exists.

The file has two numbers: bytes each second in each direction of a connection, and seconds before each block.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import threading
import time
from pathlib import Path

BLOCK = 1 << 14


def main() -> None:
    """Relay until a signal."""
    parser = argparse.ArgumentParser(prog="python -m bench.farm_relay", description=__doc__)
    parser.add_argument("--listen", type=int, required=True, metavar="PORT")
    parser.add_argument("--to", type=int, required=True, metavar="PORT", help="a port of loopback")
    parser.add_argument("--slow", type=Path, required=True, metavar="FILE", help="slow as long as it exists")
    options = parser.parse_args()
    with socket.create_server(("", options.listen), backlog=64) as server:
        while True:
            ours, _ = server.accept()
            threading.Thread(target=_connect, args=(ours, options.to, options.slow), daemon=True).start()


def _connect(ours: socket.socket, port: int, slow: Path) -> None:
    with ours:
        try:
            theirs = socket.create_connection(("127.0.0.1", port))
        except OSError:
            return
        with theirs:
            back = threading.Thread(target=_pass, args=(theirs, ours, slow), daemon=True)
            back.start()
            _pass(ours, theirs, slow)
            back.join()


def _pass(source: socket.socket, target: socket.socket, slow: Path) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(BLOCK):
            with contextlib.suppress(FileNotFoundError, ValueError):
                rate, delay = map(float, slow.read_text(encoding="ascii").split())
                time.sleep(delay + len(data) / rate)
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
