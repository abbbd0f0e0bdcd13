"""An attempt at a node on a farm: which replies end it, and which send it to another machine."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stagewright.engine.farm.attempt import FarmAttempt
from stagewright.engine.farm.machines import Machine
from stagewright.engine.farm.placing import Site
from stagewright.engine.farm.wire import BuildReply
from stagewright.errors import Reason, StagewrightError
from stagewright.events import NodeFinished, NodeNotice, Status


@dataclass
class Replies:
    """A farm of machines m0, m1 and so on. Each gives one reply."""

    replies: Sequence[BuildReply]
    taken: list[BuildReply] = field(default_factory=list)
    sent: int = 0

    def prepare(self, attempt: FarmAttempt) -> None:
        pass

    def send(self, attempt: FarmAttempt, number: int) -> Any:
        reply = self.replies[self.sent]
        self.sent += 1
        return SimpleNamespace(name=f"t{number}", reply=lambda timeout: reply, cancel=lambda: None)

    def move(self, attempt: FarmAttempt) -> bool:
        if self.sent == len(self.replies):
            raise StagewrightError(Reason.FARM, "no machine of the farm can build it")
        attempt.site = site(self.sent)
        return True

    def accept(self, attempt: FarmAttempt, reply: BuildReply) -> None:
        self.taken.append(reply)


def site(number: int) -> Site:
    return Site(f"a{number}", Machine(f"m{number}", "amd64", 1, 1000))


def failed(reason: Reason) -> BuildReply:
    error = StagewrightError(reason, "it failed").to_dict()
    return BuildReply(NodeFinished(node="n", status=Status.FAILED, error=error), log="/log")


BUILT = BuildReply(NodeFinished(node="n", status=Status.BUILT))


def outcome(folder: Path, *replies: BuildReply) -> tuple[NodeFinished, list[str], Replies]:
    farm = Replies(replies)
    job: Any = SimpleNamespace(node=SimpleNamespace(id="n"), log=folder / "logs/n.log")
    with FarmAttempt(farm, job, folder, site(0)).start() as attempt:
        ended = threading.Event()
        while attempt._result is None:
            ended.wait(0.01)
        notices = [event.text for event in attempt.events() if isinstance(event, NodeNotice)]
        return attempt.outcome(), notices, farm


def test_the_reply_of_a_task_that_another_node_has_shared_ends_this_node(tmp_path: Path) -> None:
    finished, _, _ = outcome(tmp_path, BuildReply(NodeFinished(node="twin", status=Status.CACHED)))
    assert (finished.node, finished.status) == ("n", Status.CACHED)


@pytest.mark.parametrize("reason", [Reason.DISK_FULL, Reason.STORE_FAILED, Reason.MISSING_TOOL, Reason.HOST_FEATURE])
def test_a_node_that_fails_because_of_its_machine_is_built_by_another_one(tmp_path: Path, reason: Reason) -> None:
    finished, notices, farm = outcome(tmp_path, failed(reason), BUILT)
    assert (finished.status, farm.taken) == (Status.BUILT, [BUILT])
    assert notices == ["machine m0: it failed"]


@pytest.mark.parametrize("reason", [Reason.COMMAND_FAILED, Reason.LIMIT, Reason.INVALID_VALUE, Reason.BUG])
def test_a_node_that_fails_by_itself_is_not_tried_elsewhere(tmp_path: Path, reason: Reason) -> None:
    finished, notices, farm = outcome(tmp_path, failed(reason), BUILT)
    assert finished.error and finished.error["reason"] == reason
    assert (notices, farm.sent) == ([], 1)


def test_if_no_machine_is_left_the_error_is_that_of_the_machine(tmp_path: Path) -> None:
    finished, _, farm = outcome(tmp_path, failed(Reason.DISK_FULL), BuildReply(refused="no xz"))
    assert finished.error and finished.error["reason"] == Reason.DISK_FULL
    assert "machine m0 built it; its log there is /log" in finished.error["hint"]
    assert farm.sent == 2


def test_if_all_machines_refuse_the_error_says_so(tmp_path: Path) -> None:
    finished, _, _ = outcome(tmp_path, BuildReply(refused="no xz"))
    assert finished.error and finished.error["reason"] == Reason.FARM
