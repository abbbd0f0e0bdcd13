"""The parts of a farm that need no other process: what machines can build, placement, texts on the wire, encryption."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stagewright.engine.farm.host import Host
from stagewright.engine.farm.machines import Machine
from stagewright.engine.farm.needs import FarmDemand, lacks, resources_of
from stagewright.engine.farm.placing import Site, choose
from stagewright.engine.farm.security import ROLES, is_encrypted, make_certificates, security
from stagewright.engine.farm.wire import BuildReply, Message
from stagewright.errors import Reason, StagewrightError
from stagewright.events import NodeFinished, NodePhase, Status
from stagewright.project.limits import Limits
from stagewright.store.store import Store


def machine(name: str = "m", arch: str = "amd64", cores: int = 8, **more: object) -> Machine:
    values = {"memory": 16000, "programs": {"tar": "1.34"}, "code": {"tarball": "c1"}, "exclusive": ("vm",), **more}
    return Machine(name, arch, cores, **values)  # type: ignore[arg-type]


def demand(*needs: str, cores: int = 1, memory: int = 512, exclusive: str = "", compiles: bool = False) -> FarmDemand:
    return FarmDemand(cores, memory, exclusive, compiles, frozenset(needs or ("arch:amd64",)))


@pytest.mark.parametrize(
    ("need", "missing"),
    [
        ("arch:amd64", ""),
        ("arch:x86", ""),
        ("arch:arm64", ""),
        ("arch:sparc", "no sparc"),
        ("code:tarball:c1", ""),
        ("code:tarball:c2", "another Stagewright"),
        ("program:tar", ""),
        ("program:xz", "no xz"),
        ("version:tar:1.34", ""),
        ("version:tar:1.35", "tar 1.34 (the keys have 1.35)"),
        ("feature:tap", "no tap"),
        ("here", "only the machine of the user"),
    ],
)
def test_a_machine_gets_only_nodes_that_it_can_build(need: str, missing: str) -> None:
    found = lacks(machine(also=("x86",), emulated=("arm64",)), demand(need))
    assert bool(found) == bool(missing)
    assert missing in "".join(found)


def test_a_machine_describes_itself_in_json() -> None:
    one = machine(also=("x86",), emulated=("arm64",), features=("kvm",))
    assert Machine.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    assert {"cores", "memory", "arch-amd64", "arch-x86", "arch-arm64", "kvm", "exclusive-vm"} == set(one.resources())


def test_a_node_takes_no_more_than_a_machine_has() -> None:
    one = machine(cores=2)
    taken = resources_of(demand("arch:amd64", cores=16, memory=99999, exclusive="vm"), one)
    assert all(amount <= one.resources()[name] for name, amount in taken.items())


def test_the_best_place_is_native_then_where_inputs_are_then_the_emptiest() -> None:
    native = Site("a", machine("a", "arm64"))
    emulating = Site("b", machine("b", cores=64, emulated=("arm64",)))
    other = Site("c", machine("c", "arm64", cores=16))
    wanted = demand("arch:arm64")
    every = [native, emulating, other]
    assert choose(every, wanted, "arm64", {}, ()) is other
    assert choose(every, wanted, "arm64", {"a": {"key"}}, ()) is native
    assert choose(every, wanted, "arm64", {}, ("a", "c")) is emulating
    assert choose([native], wanted, "arm64", {}, ("a",)) is native
    assert choose(every, demand("arch:sparc"), "sparc", {}, ()) is None


def test_a_machine_has_room_for_what_it_can_hold_and_always_for_one() -> None:
    site = Site("a", machine(cores=4, memory=4000))
    assert site.has_room(demand(cores=99, memory=99999))
    site.running["one"] = demand(cores=2, memory=3000, exclusive="vm")
    assert site.has_room(demand(cores=2, memory=1000))
    assert not site.has_room(demand(cores=3))
    assert not site.has_room(demand(memory=1001))
    assert not site.has_room(demand(exclusive="vm"))
    site.others = (2, 0)
    assert not site.has_room(demand())
    site.open = False
    site.running.clear()
    assert not site.has_room(demand())


def test_a_node_alone_on_a_machine_gets_all_of_it() -> None:
    site = Site("a", machine(cores=8, memory=8000))
    assert site.grant(demand(), ready=0).cores == 8
    assert site.grant(demand(), ready=5).cores == 1
    assert site.grant(demand(compiles=True), ready=5).cores == 8
    assert site.grant(demand(cores=2, memory=3000), ready=5).memory == 3000


def test_replies_and_messages_survive_the_wire() -> None:
    finished = NodeFinished(node="n", status=Status.FAILED, error={"reason": "bug"})
    reply = BuildReply(finished, refused="", log="/log", root="/root")
    assert BuildReply.from_json(reply.to_json()) == reply
    message = Message("a", "event", NodePhase(node="n", phase="p").to_json())
    assert Message.from_data({**message.to_data(), "worker": "tcp://1.2.3.4:5"}) == message
    for wrong in (None, "text", {}, {"attempt": 1, "kind": "log", "text": ""}, {"attempt": "a"}):
        assert Message.from_data(wrong) is None


@pytest.mark.parametrize("url", ["tls://host:1", "tls://127.0.0.1:1"])
def test_tls_is_possible_everywhere(url: str) -> None:
    assert is_encrypted(url)


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:1", "tcp://[::1]:1", "tcp://localhost:1"])
def test_one_computer_needs_no_encryption(url: str) -> None:
    assert not is_encrypted(url)


@pytest.mark.parametrize(
    "url", ["tcp://host:1", "tcp://0.0.0.0:1", "tcp://10.0.0.1:1", "host:1", "http://host", "tls://"]
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(StagewrightError) as caught:
        is_encrypted(url)
    assert caught.value.reason is Reason.USAGE


def test_certificates_are_made_once_and_keys_are_private(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="NOT TESTED: cryptography is not installed")
    pytest.importorskip("distributed", reason="NOT TESTED: distributed is not installed")
    folder = tmp_path / "certs"
    made = make_certificates(folder, ["build1", "10.0.0.1"])
    assert {path.name for path in made} == {"ca.pem", "ca.key", *(f"{role}.pem" for role in ROLES)}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in made if path.name != "ca.pem")
    assert make_certificates(folder) == []
    (folder / "client.pem").unlink()
    assert [path.name for path in make_certificates(folder)] == ["client.pem"]
    for role in ROLES:
        assert security("tls://host:1", folder, role).require_encryption
    with pytest.raises(StagewrightError) as caught:
        security("tls://host:1", tmp_path, "client")
    assert caught.value.reason is Reason.MISSING_FILE


class Running:
    """A worker whose files have so many bytes, and may have a mebibyte."""

    def __init__(self, folder: Path, size: int) -> None:
        folder.mkdir()
        (folder / "file").write_bytes(b"x" * size)
        self.folder, self.job = folder, SimpleNamespace(limits=Limits(disk=1 << 20))
        self.stopped: StagewrightError | None = None

    def stop(self, error: StagewrightError) -> None:
        self.stopped = error

    def enforce(self) -> None:
        pass


def test_each_thread_of_a_worker_looks_at_the_files_of_all_its_nodes(tmp_path: Path) -> None:
    host = Host(machine(), Store(tmp_path / "store"), shared=None)  # type: ignore[arg-type]
    small: Any = Running(tmp_path / "small", 1 << 10)
    large: Any = Running(tmp_path / "large", 2 << 20)
    end = time.monotonic() + 20
    with host._watched(small), host._watched(large):
        while not large.stopped and time.monotonic() < end:
            host._enforce(small)
            time.sleep(0.05)
    assert large.stopped.reason is Reason.LIMIT
    assert not small.stopped
    assert not host._running
