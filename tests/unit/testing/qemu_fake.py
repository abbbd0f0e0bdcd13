"""A program that acts as QEMU: QMP and serial port on inherited sockets, and a guest from a file of scenes next to it.

Scenes are a JSON list, one per start: a list of texts to send and of [text] to wait for. A guest ends with its scene,
unless the scene ends with "stay".
"""

import http.server
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

HERE = Path(sys.argv[0]).parent
ACTIONS = {"reboot": "shutdown"}  # as -no-reboot


def png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0\0"))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def answer(connection: socket.socket) -> None:
    greeting = HERE / "greeting"
    connection.sendall(greeting.read_bytes() if greeting.exists() else b'{"QMP": {}}\r\n')
    stream = connection.makefile("r")
    for line in stream:
        request = json.loads(line)
        with (HERE / "qmp.log").open("a", encoding="utf-8") as log:
            log.write(line)
        result: object = {}
        if request["execute"] == "screendump":
            picture = png() if request["arguments"].get("format") == "png" else b"P6\n2 1\n255\n" + b"abcdef"
            Path(request["arguments"]["filename"]).write_bytes(picture)
        if request["execute"] == "set-action":
            ACTIONS.update(request["arguments"])
        if request["execute"] == "human-monitor-command":
            result = forward(request["arguments"]["command-line"])
        connection.sendall(b'{"event": "X"}\r\n' + json.dumps({"return": result}).encode() + b"\r\n")
        if request["execute"] in ("quit", "system_powerdown"):
            os._exit(0)


def forward(command: str) -> str:
    """Forward a port: a server of the guest answers there with its path."""
    found = re.fullmatch(r"hostfwd_add net tcp:([0-9.]+):(\d+)-:(\d+)", command)
    if not found:
        return f"unknown command {command}"
    server = http.server.ThreadingHTTPServer((found[1], int(found[2])), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return ""


class Answers(http.server.BaseHTTPRequestHandler):
    """The first request fails: a server needs a moment to start."""

    ready = False

    def do_GET(self) -> None:
        if not Answers.ready:
            Answers.ready = True
            self.connection.close()
            return
        text = f"you asked {self.headers['Host']} for {self.path}".encode()
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


class RebootError(Exception):
    """The guest begins its scene again."""


def shell(serial: socket.socket, line: str) -> None:
    """Run a typed line as the guest's shell, with echo; poweroff ends the machine, reboot begins the scene again."""
    serial.sendall(line.replace("\n", "\r\n").encode())
    if line.strip() == "poweroff":
        os._exit(0)
    if line.strip() == "reboot":
        if ACTIONS["reboot"] == "shutdown":
            os._exit(0)
        raise RebootError
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=False)
    serial.sendall(done.stdout.replace(b"\n", b"\r\n") + b"live ~ # ")


def play(serial: socket.socket, scene: list) -> None:
    heard = b""
    for step in scene:
        if step == "stay":
            time.sleep(60)
        elif step == "shell":
            for line in serial.makefile("r"):
                shell(serial, line)
        elif isinstance(step, list):
            while step[0].encode() not in heard:
                heard += serial.recv(4096)
            heard = b""
        else:
            serial.sendall(step.encode())


def main() -> None:
    words = " ".join(sys.argv[1:])
    if words == "-machine help":
        print("q35  Standard PC (alias of pc-q35-7.2)")
        return
    scenes = json.loads((HERE / "scenes.json").read_text(encoding="utf-8"))
    count = HERE / "starts"
    number = int(count.read_text(encoding="utf-8")) if count.exists() else 0
    count.write_text(str(number + 1), encoding="utf-8")
    if scenes[number] is None:
        print("qemu: no such device", file=sys.stderr)
        sys.exit(1)
    ends = {name: socket.socket(fileno=int(fd)) for name, fd in re.findall(r"socket,id=(\w+),fd=(\d+)", words)}
    threading.Thread(target=answer, args=(ends["qmp"],), daemon=True).start()
    while True:
        try:
            play(ends["serial"], scenes[number])
            break
        except RebootError:
            ends["qmp"].sendall(b'{"event": "RESET"}\r\n')
    time.sleep(0.3)


main()
