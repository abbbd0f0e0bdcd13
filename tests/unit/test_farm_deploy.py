"""The examples in docs/farm.md with Dask's own deployers: LocalCluster, and SSHCluster over sshd on loopback."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from integration.farms import make_project
from servers import SshServer

pytest.importorskip("distributed", reason="NOT TESTED: distributed is not installed")
pytest.importorskip("zstandard", reason="NOT TESTED: zstandard is not installed")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not Path("/bin/busybox").exists(), reason="NOT TESTED: no static busybox"),
]

PAGE = Path(__file__).parents[2] / "docs" / "farm.md"


def example(cluster: str) -> str:
    """Return the program in the documentation that makes a cluster."""
    programs = re.findall(r"((?:^    .*\n|^\n)+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    (found,) = (text for text in programs if f"import {cluster}" in text)
    program = "\n".join(line[4:] for line in found.splitlines())
    ast.parse(program)
    return program


@contextmanager
def running(program: str, folder: Path) -> Iterator[str]:
    """Run a program that makes a cluster; yield the address of its scheduler."""
    program = program.replace("signal.pause()", "sys.stdout.flush(); signal.pause()")
    words = [sys.executable, "-c", f"import sys\n{program}"]
    path = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with (
        (folder / "cluster.log").open("wb") as log,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **path}) as process,
    ):
        try:
            assert process.stdout
            url = process.stdout.readline().strip()
            assert url.startswith("tcp://"), (folder / "cluster.log").read_text(encoding="utf-8")
            yield url
        finally:
            process.send_signal(signal.SIGINT)  # Dask then closes the cluster, also on other hosts
            process.wait(60)


def builds(folder: Path, url: str, machines: set[str]) -> None:
    project = make_project(folder / "project")
    command = [sys.executable, "-m", "stagewright", "--store", str(folder / "user"), "-C", str(project)]
    options = ["--farm", url, "--farm-remote", f"{folder}/remote/", "--progress", "plain"]
    done = subprocess.run([*command, "build", "one-tar", *options], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done
    assert set(re.findall(r"started \(\S+\) on (\S+)", done.stdout + done.stderr)) <= machines, done


def test_a_local_cluster_builds(tmp_path: Path) -> None:
    program = example("LocalCluster").replace("/srv/stagewright", f"{tmp_path}/remote/")
    with running(program.replace("/var/lib/stagewright", f"{tmp_path}/store"), tmp_path) as url:
        builds(tmp_path, url, {"here"})


def test_an_ssh_cluster_builds(tmp_path: Path, ssh_server: SshServer) -> None:
    pytest.importorskip("asyncssh", reason="NOT TESTED: asyncssh is not installed")
    keys = ssh_server.config.parent
    connect = {"port": ssh_server.port, "client_keys": [f"{keys}/user"], "known_hosts": f"{keys}/known_hosts"}
    program = example("SSHCluster")
    for text, here in {
        '["build1", "build2", "build3"]': '["127.0.0.1", "127.0.0.1"]',
        "connect_options={}": f"connect_options={connect!r}",
        '"host": "build1", "port": 8786': '"host": "127.0.0.1", "port": 0',
        "sftp://build1/srv/stagewright": f"{tmp_path}/remote/",
        "/var/lib/stagewright": f"{tmp_path}/store",
        '"certs": "/etc/stagewright/farm",': "",
    }.items():
        assert text in program, text
        program = program.replace(text, here)
    with running(program, tmp_path) as url:
        builds(tmp_path, url, {os.uname().nodename})
