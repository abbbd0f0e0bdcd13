"""The search between two locks, with answers instead of builds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from integration.gits import Git, tiny
from integration.support import write_project

from stagewright.engine.bisect import Bisection, Ends, Found, lines
from stagewright.engine.bisect_question import Answer, Question, Verdict
from stagewright.engine.build_options import BuildOptions
from stagewright.engine.session import Session
from stagewright.errors import Reason, StagewrightError
from stagewright.project.lock import Lock
from stagewright.repos.git import TREE_KIND
from stagewright.store.store import Store

PROJECT = """
[repos.one]
git = "{one}"
[repos.two]
git = "{two}"
[repos.shot]
squashfs = "https://example.org/snapshots"
[seeds.base]
file = "seed"
[stages.system]
kind = "livecd-stage1"
root = "base"
unmerge = ["app-misc/one"]
"""

Judge = Callable[[Lock], Verdict]


@dataclass(frozen=True)
class Stub(Question):
    """A question whose answer depends only on the pins."""

    judge: Judge = lambda _: Verdict.GOOD
    asked: list[str] = field(default_factory=list)

    def answer(self, session: Session, options: BuildOptions) -> Answer:
        self.asked.append(session.project.lock.repos["one"]["commit"])
        return Answer(self.judge(session.project.lock), "so")


class Place:
    def __init__(self, base: Path) -> None:
        self.base = base
        self.one, self.two = (Git.make(base / name, tiny(name)) for name in ("one", "two"))
        text = PROJECT.format(one=self.one.url, two=self.two.url)
        self.project = write_project(base / "project", text)
        (self.project / "seed").mkdir()
        self.store = Store(base / "store")
        self.commits = {
            "one": [self.head(self.one), *(self.one.change(f"commit {number}") for number in range(1, 8))],
            "two": [self.head(self.two), self.two.change("another")],
        }

    @staticmethod
    def head(git: Git) -> str:
        return git("rev-parse", "HEAD")

    def lock(self, one: str, two: str, shot: str = "20260101") -> Path:
        """Write a lock with these commits, and a snapshot of this day."""
        session = Session.open(self.project, store=self.store.path)
        pins: dict[str, dict[str, Any]] = {}
        for git, name, commit in ((self.one, "one", one), (self.two, "two", two)):
            tree = git("rev-parse", f"{commit}^{{tree}}")
            pins[name] = {"date": "2025-10-09 08:53:20", "commit": commit, "tree": f"{TREE_KIND}:{tree}"}
        pins["shot"] = {"date": shot, "file": f"gentoo-{shot}.xz.sqfs", "sha512": "0" * 128, "tree": f"x:{shot * 8}"}
        lock = session.project.lock
        for name, pin in pins.items():
            request = session.project.repos[name].request
            lock = lock.with_pin("repos", name, {"request": _digest(request), **pin})
        path = self.base / f"{one[:6]}-{two[:6]}-{shot}.lock"
        path.write_text(lock.text(), encoding="utf-8")
        return path

    def search(
        self, judge: Judge, good: Path, bad: Path, skipped: Iterable[str] = (), *, keep: bool = False
    ) -> tuple[Bisection, Stub]:
        question = Stub("system", judge=judge)
        search = Bisection(self.project, self.store, Ends.read(good, bad), question, BuildOptions(), [], list(skipped))
        if not keep:
            search.forget()
        return search, question

    def ends(self) -> tuple[Path, Path]:
        one, two = self.commits["one"], self.commits["two"]
        return self.lock(one[0], two[0]), self.lock(one[-1], two[-1])


def _digest(request: Any) -> str:
    from stagewright.project.lock import request_digest

    return request_digest(request)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("bisect"))


def bad_from(place: Place, number: int, skipped: Iterable[int] = ()) -> Judge:
    """Return a judge that finds a commit of ``one`` and all later ones bad."""

    def judge(lock: Lock) -> Verdict:
        at = place.commits["one"].index(lock.repos["one"]["commit"])
        return Verdict.SKIP if at in skipped else Verdict.BAD if at >= number else Verdict.GOOD

    return judge


@pytest.mark.parametrize("number", [1, 3, 7])
def test_the_first_bad_commit_is_found_in_its_repository(place: Place, number: int) -> None:
    search, question = place.search(bad_from(place, number), *place.ends())
    found = search.run()
    assert (found.names, [one.id for one in found.commits]) == (("one",), [place.commits["one"][number]])
    assert len(question.asked) <= 2 + 1 + 3, "by halves: both ends, the repositories, 7 commits"
    assert f"{place.commits['one'][number]} of one is the first bad commit" in list(lines(found))
    assert json.loads(json.dumps(found.to_dict()))["certain"]


def test_a_search_that_was_stopped_continues(place: Place) -> None:
    def failing(lock: Lock) -> Verdict:
        if lock.repos["one"]["commit"] == place.commits["one"][4]:
            raise StagewrightError(Reason.FETCH_FAILED, "no network")
        return bad_from(place, 2)(lock)

    good, bad = (
        place.lock(place.commits["one"][0], place.commits["two"][0]),
        place.lock(place.commits["one"][-1], place.commits["two"][0]),
    )
    search, before = place.search(failing, good, bad)
    with pytest.raises(StagewrightError, match="no network"):
        search.run()
    search, question = place.search(bad_from(place, 2), good, bad, keep=True)
    assert [one.id for one in search.run().commits] == [place.commits["one"][2]]
    assert not set(question.asked) & set(before.asked[:-1]), "no state is tested twice"
    search, question = place.search(bad_from(place, 2), good, bad, keep=True)
    search.run()
    assert question.asked == []
    (place.project / "seed/new").touch()
    search.run()
    assert question.asked, "answers about another project do not count"


def test_commits_that_cannot_be_built_are_skipped(place: Place) -> None:
    one = place.commits["one"]
    good, bad = place.lock(one[0], place.commits["two"][1]), place.lock(one[-1], place.commits["two"][1])
    search, _ = place.search(bad_from(place, 6, skipped=[3, 4]), good, bad)
    assert [commit.id for commit in search.run().commits] == [one[6]]
    search, _ = place.search(bad_from(place, 4, skipped=[3]), good, bad, skipped=[one[5][:8]])
    found = search.run()
    assert [commit.id for commit in found.commits] == [one[4], one[3]] and not found.is_certain
    assert "one of 2 commits of one" in next(lines(found))


def test_a_snapshot_is_named_as_a_whole(place: Place) -> None:
    one, two = place.commits["one"], place.commits["two"]
    good, bad = place.lock(one[0], two[0]), place.lock(one[-1], two[-1], "20260201")

    def judge(lock: Lock) -> Verdict:
        return Verdict.BAD if lock.repos["shot"]["date"] == "20260201" else Verdict.GOOD

    found = place.search(judge, good, bad)[0].run()
    assert (found.names, found.commits) == (("shot",), ())
    assert "  bad: gentoo-20260201.xz.sqfs" in list(lines(found))


def test_states_between_that_cannot_be_built_leave_several_names(place: Place) -> None:
    good, bad = place.ends()

    def state(lock: Lock) -> str:
        return json.dumps(dict(lock.repos), sort_keys=True)

    ends = {state(Lock.read(good)): Verdict.GOOD, state(Lock.read(bad)): Verdict.BAD}

    def judge(lock: Lock) -> Verdict:
        return ends.get(state(lock), Verdict.SKIP)

    search, _ = place.search(judge, good, bad, skipped=["0000000"])
    found = search.run()
    assert found == Found(("one", "two"), answers=found.answers) and not found.is_certain


def failure(search: Bisection) -> StagewrightError:
    with pytest.raises(StagewrightError) as caught:
        search.run()
    return caught.value


def test_wrong_ends_and_foreign_locks_are_refused(place: Place, tmp_path: Path) -> None:
    good, bad = place.ends()
    for judge, said in (
        (lambda _: Verdict.BAD, "the good lock is bad: so"),
        (lambda _: Verdict.GOOD, "the bad lock is good: so"),
        (lambda _: Verdict.SKIP, "the good lock is not buildable: so"),
    ):
        error = failure(place.search(judge, good, bad)[0])
        assert (error.reason, error.message) == (Reason.WRONG_END, said)
    error = failure(place.search(bad_from(place, 3), good, good)[0])
    assert error.reason is Reason.UNRELATED and "the same states" in error.message
    error = failure(place.search(bad_from(place, 3), bad, good)[0])
    assert error.reason is Reason.WRONG_END

    def reverse(lock: Lock) -> Verdict:
        return Verdict.GOOD if bad_from(place, 3)(lock) is Verdict.BAD else Verdict.BAD

    error = failure(place.search(reverse, bad, good)[0])
    assert error.reason is Reason.UNRELATED and "is not an ancestor" in error.message
    other = tmp_path / "other.lock"
    other.write_text(good.read_text("utf-8").replace('request = "', 'request = "0'), encoding="utf-8")
    error = failure(place.search(bad_from(place, 3), good, other)[0])
    assert error.reason is Reason.UNRELATED and "not a lock of this project" in error.message
    with pytest.raises(StagewrightError) as caught:
        Ends.read(good, tmp_path / "none")
    assert caught.value.reason is Reason.MISSING_FILE
