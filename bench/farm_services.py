"""Servers for the remote store of a farm, on a computer of :mod:`bench.farm_net`: SFTP, S3 and a registry.

Each of them listens on two ports: its own, and one that passes on connections and can be closed or slow
(:mod:`bench.farm_relay`).
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.farm_net import Network
from stagewright.engine.farm.security import make_certificates

KINDS = ("sftp", "s3", "oci")

PORTS = {"sftp": 2022, "s3": 5009, "oci": 5000}

RELAYED = 10_000
"""Added to a port: the port of its relay."""

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}

_SSHD = """Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PidFile none
PasswordAuthentication no
PermitRootLogin yes
MaxStartups 100
Subsystem sftp internal-sftp
"""

_SSH = """IdentityFile {folder}/user
IdentitiesOnly yes
UserKnownHostsFile {folder}/known_hosts
StrictHostKeyChecking yes
ConnectTimeout 10
ServerAliveInterval 5
"""

_REGISTRY = """version: 0.1
log: {{ level: error, accesslog: {{ disabled: true }} }}
storage: {{ filesystem: {{ rootdirectory: {folder}/data }}, delete: {{ enabled: true }} }}
http: {{ addr: ":{port}", tls: {{ certificate: "{certs}/scheduler.pem", key: "{certs}/scheduler.pem" }} }}
"""


@dataclass
class Service:
    """A server for remote stores on a computer. ``folder`` has its files, ``certs`` certificates of a farm."""

    net: Network
    computer: str
    kind: str
    folder: Path
    certs: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        make_certificates(self.certs, [self.address])
        bundle = Path(os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().openssl_cafile)
        known = bundle.read_bytes() if bundle.is_file() else b""
        self._bundle.write_bytes(known + b"\n" + (self.certs / "ca.pem").read_bytes())

    @property
    def address(self) -> str:
        """The address of the computer."""
        return self.net.computers[self.computer].address

    @property
    def _bundle(self) -> Path:
        return self.folder / "bundle.pem"

    @property
    def slow(self) -> Path:
        """The file that makes the relay slow (:mod:`bench.farm_relay`)."""
        return self.folder / "slow"

    @property
    def alter(self) -> Path:
        """The file that makes S3 return altered bytes (:mod:`bench.farm_s3`)."""
        return self.folder / "alter"

    def start(self) -> None:
        """Start the server and its relay, and wait until they accept connections."""
        port = PORTS[self.kind]
        self.net.start(self.computer, self.kind, getattr(self, f"_{self.kind}")(port), dict(os.environ))
        self.net.reachable(self.computer, port, self.kind)
        if self.kind == "s3":
            make = "import sys, boto3; boto3.client('s3', endpoint_url=sys.argv[1]).create_bucket(Bucket='farm')"
            words = self.net.computers[self.computer].words(sys.executable, "-c", make, self._endpoint(port))
            subprocess.run(words, env=self.variables, check=True)
        self.open()

    def open(self) -> None:
        """Open the port of the relay."""
        port = PORTS[self.kind]
        words = (sys.executable, "-m", "bench.farm_relay", "--listen", str(port + RELAYED), "--to", str(port))
        self.net.start(self.computer, f"{self.kind}.relay", [*words, "--slow", self.slow], dict(os.environ))
        self.net.reachable(self.computer, port + RELAYED, f"{self.kind}.relay")

    def shut(self) -> None:
        """Close the port of the relay, and all connections that it has passed on."""
        self.net.stop(f"{self.kind}.relay")

    def _sftp(self, port: int) -> list[str | Path]:
        folder = self.folder
        for name in ("host", "user"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(words, check=True)
        shutil.copy(folder / "user.pub", folder / "authorized_keys")
        (folder / "sshd_config").write_text(_SSHD.format(port=port, folder=folder))
        key = (folder / "host.pub").read_text()
        known = "".join(f"[{self.address}]:{one} {key}" for one in (port, port + RELAYED))
        (folder / "known_hosts").write_text(known)
        (folder / "ssh_config").write_text(_SSH.format(folder=folder))
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd(8): the folder of its unprivileged processes
        program = shutil.which("sshd", path="/usr/sbin:/usr/bin")
        assert program
        return [program, "-D", "-e", "-f", folder / "sshd_config"]

    def _s3(self, port: int) -> list[str | Path]:
        return [sys.executable, "-m", "bench.farm_s3", "--port", str(port), "--alter", self.alter]

    def _oci(self, port: int) -> list[str | Path]:
        config = self.folder / "config.yml"
        config.write_text(_REGISTRY.format(folder=self.folder, port=port, certs=self.certs))
        return ["docker-registry", "serve", config]

    def _endpoint(self, port: int) -> str:
        return f"http://{self.address}:{port}"

    def settings(self, name: str, *, relayed: bool = False) -> str:
        """Return the table ``[remotes.shared]`` with a store of this name on the server."""
        port = PORTS[self.kind] + (RELAYED if relayed else 0)
        lines = {
            "sftp": [
                f'url = "sftp://root@{self.address}:{port}{self.folder}/{name}"',
                f'ssh_config = "{self.folder}/ssh_config"',
            ],
            "s3": [f'url = "s3://farm/{name}"', f'endpoint = "{self._endpoint(port)}"'],
            "oci": [f'url = "oci://{self.address}:{port}/farm/{name}"'],
        }[self.kind]
        return "\n".join(["[remotes.shared]", *lines]) + "\n"

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment of programs that use it."""
        return {**os.environ, **KEYS, "SSL_CERT_FILE": str(self._bundle)}
