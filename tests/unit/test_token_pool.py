"""The tokens of a run: nodes share them by their FIFOs, and none can take or forge those of others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from fake_workers import Site, eventually

from stagewright.engine.job import Job
from stagewright.engine.local import LocalExecutor
from stagewright.engine.resources import Resources
from stagewright.engine.token_pool import TokenPool
from stagewright.engine.worker_process import Worker
from stagewright.graph.node import Demand
from stagewright.root.job_tokens import FIFO, SPARE, folder_of


class Node:
    """A node with tokens, and what its programs do with the FIFO."""

    def __init__(self, pool: TokenPool, work: Path) -> None:
        work.mkdir()
        self.pool, self.work, self.held = pool, work, 0
        pool.add(work)
        self.fifo = os.open(folder_of(work) / FIFO, os.O_RDWR | os.O_NONBLOCK)

    @property
    def given(self) -> int:
        return self.pool.given()[self.work]

    @property
    def spare(self) -> int:
        return int((folder_of(self.work) / SPARE).read_text(encoding="utf-8"))

    def take(self, count: int = 1000) -> int:
        with suppress(BlockingIOError):
            self.held += len(os.read(self.fifo, count))
        return self.held

    def put(self, count: int) -> None:
        os.write(self.fifo, b"+" * count)
        self.held -= count

    def end(self) -> None:
        """End as a killed worker does: it returns nothing."""
        os.close(self.fifo)
        self.pool.remove(self.work)


@pytest.fixture
def pool() -> Iterator[TokenPool]:
    made = TokenPool(8)
    yield made
    for work in made.given():
        made.remove(work)


def test_a_node_alone_gets_all_cores(pool: TokenPool, tmp_path: Path) -> None:
    node = Node(pool, tmp_path / "one")
    assert (node.given, node.spare) == (8, 8)
    assert node.take() == 8


def test_a_node_without_tokens_uses_its_cores(pool: TokenPool, tmp_path: Path) -> None:
    node = Node(pool, tmp_path / "one")
    pool.use(3)
    assert node.given == 5
    pool.use(0)
    assert node.given == 8
    pool.use(20)
    assert node.given == 1


def test_tokens_in_use_come_back_when_their_jobs_end(pool: TokenPool, tmp_path: Path) -> None:
    node = Node(pool, tmp_path / "one")
    node.take()
    pool.use(3)
    assert node.given == 8
    node.put(3)
    eventually(lambda: node.given == 5)
    assert node.take() == 5


def test_a_node_that_waits_for_tokens_gets_those_that_others_do_not_use(pool: TokenPool, tmp_path: Path) -> None:
    idle, busy = Node(pool, tmp_path / "idle"), Node(pool, tmp_path / "busy")
    eventually(lambda: busy.take() == 7)
    assert idle.given == 1
    assert idle.spare == 1


def test_two_nodes_that_wait_for_tokens_have_equal_parts_in_the_end(pool: TokenPool, tmp_path: Path) -> None:
    first = Node(pool, tmp_path / "first")
    first.take()
    second = Node(pool, tmp_path / "second")

    def jobs_end_and_start() -> bool:
        second.take()
        if first.held:
            first.put(1)
        eventually(lambda: first.given + second.given <= 8)
        first.take()
        return (first.given, second.given) == (4, 4)

    eventually(jobs_end_and_start)


def test_a_node_that_is_killed_with_tokens_leaves_none_behind(pool: TokenPool, tmp_path: Path) -> None:
    for number in range(20):
        node, other = Node(pool, tmp_path / f"{number}"), Node(pool, tmp_path / f"other{number}")
        node.take(number % 7)
        node.end()
        eventually(lambda other=other: other.given == 8)
        other.end()
        assert not folder_of(node.work).exists(), "emerge in the shell of a failed stage would wait for tokens"
    assert pool.given() == {}
    assert pool.tokens == 8


def test_a_node_that_adds_tokens_gets_none_of_others(pool: TokenPool, tmp_path: Path) -> None:
    hostile, other = Node(pool, tmp_path / "hostile"), Node(pool, tmp_path / "other")
    with suppress(BlockingIOError):
        while True:
            os.write(hostile.fifo, b"x" * 4096)
    eventually(lambda: other.take() == 7)
    assert sum(pool.given().values()) <= 8
    hostile.end()
    eventually(lambda: other.take() == 8)


def test_a_node_that_keeps_all_tokens_leaves_others_one_job(pool: TokenPool, tmp_path: Path) -> None:
    hostile = Node(pool, tmp_path / "hostile")
    hostile.take()
    other = Node(pool, tmp_path / "other")
    assert (other.given, other.spare) == (1, 1)
    hostile.end()
    assert other.given == 8


def test_an_executor_gives_tokens_to_nodes_that_compile(tmp_path: Path) -> None:
    site = Site(tmp_path, {"seed:one": "sleep 1000"})
    job, folder = site.job("seed:one")
    seen: list[bool] = []

    def launch(job: Job, folder: Path) -> Worker:
        seen.append(folder_of(folder).is_dir())
        return site.launch(job, folder)

    executor = LocalExecutor(site.store, Resources(8, 100_000), launch)
    compiling = job.model_copy(update={"node": replace(job.node, demand=Demand(compiles=True))})
    placement = executor.place(compiling.node, None)  # type: ignore[arg-type]  it does not matter who waits
    assert placement.grant.cores == 8
    with executor.start(compiling, folder, placement) as worker:
        assert executor.pool.given() == {folder: 8}
        other = site.store.new_work("other")
        with executor.start(job, other, placement) as second:
            assert executor.pool.given() == {folder: 7}
        executor.forget(second)
        assert executor.pool.given() == {folder: 8}
    executor.forget(worker)
    assert executor.pool.given() == {}
    assert seen == [True, False]


def test_little_memory_means_few_tokens(tmp_path: Path) -> None:
    assert LocalExecutor(Site(tmp_path).store, Resources(8, 5000)).pool.cores == 2
