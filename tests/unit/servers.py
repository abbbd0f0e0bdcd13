"""Servers on loopback for tests: OpenSSH, and a stand-in for Amazon S3."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class SshServer:
    """An ssh server on loopback for one user, and a configuration for clients that trusts it."""

    port: int
    config: Path

    def url(self, scheme: str, folder: Path) -> str:
        return f"{scheme}://127.0.0.1:{self.port}{folder}"


@pytest.fixture(scope="module")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    program = shutil.which("sshd", path="/usr/sbin:/usr/bin") or pytest.skip("NOT TESTED: no sshd")
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: sshd needs root")
    home = tmp_path_factory.mktemp("ssh")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
    shutil.copy(home / "user.pub", home / "authorized_keys")
    port = free_port()
    (home / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home}/host\nAuthorizedKeysFile {home}/authorized_keys\n"
        f"StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\nPermitRootLogin yes\n"
        f"Subsystem sftp internal-sftp\nSetEnv SHLVL=2\n",  # bash(1) then reads no ~/.bashrc
        encoding="utf-8",
    )
    key = (home / "host.pub").read_text(encoding="utf-8")
    (home / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}", encoding="utf-8")
    (home / "config").write_text(
        f"IdentityFile {home}/user\nIdentitiesOnly yes\nUserKnownHostsFile {home}/known_hosts\n"
        f"StrictHostKeyChecking yes\n",
        encoding="utf-8",
    )
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd(8): the folder of its unprivileged processes
    with (
        (home / "log").open("wb") as log,
        subprocess.Popen([program, "-D", "-e", "-f", home / "sshd_config"], stderr=log) as server,
    ):
        try:
            wait_for(port, server)
            yield SshServer(port, home / "config")
        finally:
            server.terminate()


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port: int = chosen.getsockname()[1]
        return port


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers. A busy computer needs minutes to start one."""
    end = time.monotonic() + 600
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
            return
        time.sleep(0.05)
    raise AssertionError("the server did not start")


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A stand-in for Amazon S3 on loopback, in another process: the address."""
    for name in ("s3fs", "moto", "flask"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"NOT TESTED: no Python package {name}")
    port = free_port()
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    log = (tmp_path_factory.mktemp("s3") / "log").open("wb")
    with log, subprocess.Popen(words, stdout=log, stderr=log) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in keys.items():
            patch.setenv(name, value)
        try:
            wait_for(port, server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


@pytest.fixture(scope="session")
def webdav_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A WebDAV server on loopback, in another process: the address."""
    for name in ("webdav4", "wsgidav", "cheroot"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"NOT TESTED: no Python package {name}")
    port, folder = free_port(), tmp_path_factory.mktemp("webdav")
    (folder / "files").mkdir()
    words = [sys.executable, "-m", "wsgidav.server.server_cli", "--host", "127.0.0.1", "--port", str(port)]
    words += ["--root", str(folder / "files"), "--auth", "anonymous", "--server", "cheroot", "--no-config"]
    with (folder / "log").open("wb") as log, subprocess.Popen(words, stdout=log, stderr=log) as server:
        try:
            wait_for(port, server)
            yield f"webdav+http://127.0.0.1:{port}"
        finally:
            server.kill()
