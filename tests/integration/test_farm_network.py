"""A farm with a network namespace for each computer: TLS between them, and SFTP to the remote store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import farm_net
from bench.farm_lab import contents, emulators_of, ended, lab, local
from bench.farm_project import ARM64_NODES, MADE, NODES, write
from stagewright.arch import Arch, host_machine

pytest.importorskip("distributed", reason="NOT TESTED: distributed is not installed")
pytest.importorskip("zstandard", reason="NOT TESTED: zstandard is not installed")
MISSING = farm_net.missing()
EMULATORS = emulators_of(Arch.ARM64)
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(MISSING), reason=f"NOT TESTED: {', '.join(MISSING)} not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: network namespaces need root"),
    pytest.mark.skipif(not Path("/bin/busybox").exists(), reason="NOT TESTED: no static busybox"),
    pytest.mark.skipif(not EMULATORS, reason="NOT TESTED: qemu-user-static is not installed"),
    pytest.mark.skipif(host_machine().arch is Arch.ARM64, reason="NOT TESTED: this computer runs arm64 itself"),
]


def test_computers_that_share_only_a_network_build_each_node_once_with_the_bytes_of_one(tmp_path: Path) -> None:
    project = write(tmp_path / "project", "one", seconds=0.1, arm64=True)
    workers = {"w1": EMULATORS, "w2": EMULATORS, "w3": ()}
    with lab(tmp_path / "lab", "sftp", workers) as farm:
        for name in workers:
            farm.start_worker(name, "--cores", "1")
        assert local(project, tmp_path / "local").code == 0
        farm.connected(*workers)
        run = ended(farm.build(project), 300)
        assert run.code == 0, run.stderr
        every = (*NODES, *ARM64_NODES)
        assert {name: end["status"] for name, end in run.ends.items()} == dict.fromkeys(every, "built")
        assert {name: farm.logs_of(name) for name in every} == dict.fromkeys(every, 1)
        wanted = contents(tmp_path / "local")
        found = [contents(farm.store(name)) for name in ("user", *workers)]
        assert all(one.items() <= wanted.items() for one in found)
        assert {key for one in found for key in one} == set(wanted)
        machines = {event["node"]: event["machine"] for event in run.events if event["event"] == "NodeStarted"}
        assert {machines[name] for name in ARM64_NODES[1:]} == {"w3"}
        assert list((farm.store("w3") / "layers").glob(f"*/tree/{MADE}"))
