"""Finding the commit of a repository that made something bad, between two locks of a project.

The states between the locks are searched by halves: first for the repository or seed whose new state is bad, then, in
a git repository, for its commit. A state is a lock, and a build of a state makes only what differs::

    <store>/bisect/<id>/state.json       the answers so far, so that the same command continues, and the key of the
                                         target in the good state: if it changes, the answers no longer count
    <store>/bisect/<id>/stagewright.lock the state that is tested

All states have the time stamp of the good lock: another one would build everything again.
"""

from __future__ import annotations

import calendar
import contextlib
import hashlib
import json
import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from stagewright.engine.bisect_question import Answer, Question, Verdict
from stagewright.engine.build_options import BuildOptions
from stagewright.engine.pins import PinTarget, is_needed
from stagewright.engine.session import Session
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Listener, NodeNotice
from stagewright.project.lock import FILE_NAME, Lock, Pin
from stagewright.repos.git import GitRemote
from stagewright.repos.history import History, HistoryCommit
from stagewright.repos.repository_cache import RepositoryCache
from stagewright.store.durable import write_atomically
from stagewright.store.store import Store

FOLDER = "bisect"
"""Folder of the store with the searches."""

_UNCOUNTED = ("request", "resolved")
"""Entries of pins that do not describe a state."""


@dataclass(frozen=True)
class Found:
    """The result of a search.

    ``names`` are the repositories and seeds that made the difference: several if states between them cannot be built.
    ``commits`` are the suspects of one git repository, newest first: one if the search succeeded. ``good`` and ``bad``
    are the pins around a change of another kind. ``answers`` are those of all tested states, in order.
    """

    names: tuple[str, ...]
    commits: tuple[HistoryCommit, ...] = ()
    good: Pin = field(default_factory=dict)
    bad: Pin = field(default_factory=dict)
    answers: tuple[tuple[str, str, str], ...] = ()

    @property
    def is_certain(self) -> bool:
        """True if the search names one commit, or one change of a pin without commits."""
        return len(self.names) == 1 and len(self.commits) <= 1

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-able data."""
        answers = [{"state": state, "verdict": verdict, "why": why} for state, verdict, why in self.answers]
        return {**asdict(self), "certain": self.is_certain, "answers": answers}


@dataclass(frozen=True)
class Ends:
    """The locks at both ends of a search."""

    good: Lock
    bad: Lock

    @classmethod
    def read(cls, good: Path, bad: Path) -> Ends:
        """Read both locks. Raises: MISSING_FILE, or FORMAT for other files."""
        for file in (good, bad):
            if not file.is_file():
                hint = "as in: git show v1.0:stagewright.lock > good.lock"
                raise StagewrightError(Reason.MISSING_FILE, f"{file}: lock file not found", hint=hint)
        return cls(Lock.read(good), Lock.read(bad))

    def differing(self) -> list[PinTarget]:
        """Return the repositories and seeds that both locks pin to other states, repositories first."""
        return [
            PinTarget(table, name)
            for table in ("repos", "seeds")
            for name in sorted(self.good.pins(table).keys() | self.bad.pins(table).keys())
            if _facts(self.good.pins(table).get(name)) != _facts(self.bad.pins(table).get(name))
        ]


def _facts(pin: Pin | None) -> dict[str, Any] | None:
    return None if pin is None else {name: value for name, value in pin.items() if name not in _UNCOUNTED}


class Bisection:
    """One search. :meth:`run` can be called once; a second search with the same ends and question continues."""

    def __init__(
        self,
        project: Path,
        store: Store,
        ends: Ends,
        question: Question,
        options: BuildOptions,
        listeners: Sequence[Listener] = (),
        skipped: Collection[str] = (),
    ) -> None:
        self._project, self._store, self._ends, self._question = project, store, ends, question
        self._options, self._listeners, self._skipped = options, listeners, tuple(skipped)
        identity = [
            str(project.resolve()),
            question.target,
            question.measure,
            question.limit,
            ends.good.text(),
            ends.bad.text(),
        ]
        name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
        self._folder = store.path / FOLDER / name
        self._answers: list[tuple[str, str, str]] = []
        self._known: dict[str, dict[str, str]] = {}
        self._key: list[str] = []

    def forget(self) -> None:
        """Forget the answers of former runs."""
        (self._folder / "state.json").unlink(missing_ok=True)

    def run(self) -> Found:
        """Search. Raises: WRONG_END, UNRELATED, and what builds raise if it is not about a state."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            return self._search()
        finally:
            self._register()

    def _search(self) -> Found:
        targets = self._targets()
        self._check_ends(targets)
        low, high = self._halve(targets)
        found = (
            self._in_target(targets, low) if high - low == 1 else Found(tuple(one.name for one in targets[low:high]))
        )
        return replace(found, answers=tuple(self._answers))

    def _register(self) -> None:
        """Note the keys of the project with its own lock: builds of states have replaced them."""
        with contextlib.suppress(StagewrightError):
            session = Session.open(self._project, store=self._store.path)
            self._store.register(session.project.folder, session.plan().keys())

    def _open(self, lock: Lock) -> Session:
        file = self._folder / FILE_NAME
        write_atomically(file, lock.text())
        return Session.open(self._project, store=self._store.path, lock=file, listeners=self._listeners)

    def _targets(self) -> list[PinTarget]:
        """Return what differs between the locks and matters for the question. Checks that the locks fit the project."""
        for end in (self._ends.bad, self._ends.good):
            session = self._open(end)
            missing = session.unpinned(session.check([self._question.target]))
            if missing:
                what = f"{end.file}: not a lock of this project with its present settings: no pin for {missing[0]}"
                hint = "use locks of this project; a repository or seed whose settings changed has another pin"
                raise StagewrightError(Reason.UNRELATED, what, hint=hint)
        nodes = session.graph.closure(session.graph.targets[self._question.target])
        self._recall(session)
        known = {"repos": session.project.repos, "seeds": session.project.entries["seeds"]}
        targets = [
            target
            for target in self._ends.differing()
            if target.name in known[target.table] and is_needed(target, session.graph, nodes)
        ]
        if not targets:
            what = f"both locks pin the same states of everything that {self._question.target!r} needs"
            raise StagewrightError(Reason.UNRELATED, what, hint="use two different locks")
        return targets

    def _recall(self, session: Session) -> None:
        """Read the answers of former runs, unless the project or Stagewright has changed since."""
        plan = session.plan([self._question.target])
        self._key = [plan.steps[node].key.digest for node in plan.sinks]
        if (self._folder / "state.json").exists():
            state = json.loads((self._folder / "state.json").read_text(encoding="utf-8"))
            self._known = state["answers"] if state["key"] == self._key else {}

    def _check_ends(self, targets: Sequence[PinTarget]) -> None:
        for count, wanted in ((0, Verdict.GOOD), (len(targets), Verdict.BAD)):
            end = f"the {wanted} lock"
            answer = self._ask(self._lock(targets, count), end)
            if answer.verdict is not wanted:
                what = f"{end} is {answer.verdict if answer.verdict is not Verdict.SKIP else 'not buildable'}"
                hint = "exchange or correct --good and --bad"
                raise StagewrightError(Reason.WRONG_END, f"{what}: {answer.why}", hint=hint)

    def _lock(self, targets: Sequence[PinTarget], count: int) -> Lock:
        """Return the good lock with the first ``count`` targets as in the bad one."""
        lock = self._ends.good
        for target in targets[:count]:
            lock = lock.with_pin(target.table, target.name, self._ends.bad.pins(target.table)[target.name])
        return lock

    def _halve(self, targets: Sequence[PinTarget]) -> tuple[int, int]:
        """Return the largest good and the smallest bad number of targets in their bad state."""
        low, high, skipped = 0, len(targets), set[int]()
        while rest := [count for count in range(low + 1, high) if count not in skipped]:
            count = rest[len(rest) // 2]
            state = f"as in the bad lock: {', '.join(map(str, targets[:count]))}"
            answer = self._ask(self._lock(targets, count), state)
            if answer.verdict is Verdict.SKIP:
                skipped.add(count)
            elif answer.verdict is Verdict.GOOD:
                low = count
            else:
                high = count
        return low, high

    def _in_target(self, targets: Sequence[PinTarget], at: int) -> Found:
        """Search for the commit of one repository; the ones before it stay bad, those after it good."""
        target = targets[at]
        good, bad = (end.pins(target.table)[target.name] for end in (self._ends.good, self._ends.bad))
        repo = self._open(self._ends.good).project.repos.get(target.name) if target.is_repository else None
        if repo is None or repo.git is None:
            return Found((target.name,), good=good, bad=bad)
        remote = GitRemote(repo.git, RepositoryCache.of(self._store.path))
        history = History.fetch(remote, str(good["commit"]), str(bad["commit"]), _time_of(good))
        base = self._lock(targets, at)
        commits = [history.commit(name) for name in self._walk(history, target.name, base)]
        return Found((target.name,), tuple(commits), good, bad)

    def _walk(self, history: History, name: str, base: Lock) -> list[str]:
        """Return the commits of which one is the first bad one, newest first."""
        bad, good, skipped = history.bad, {history.good}, self._skipped_in(history)
        while half := history.halfway(bad, good, skipped):
            commit, left = history.commit(half), len(history.suspects(bad, good))
            steps = max(1, math.ceil(math.log2(left)))
            self._say(f"{left} commits of {name} left, about {steps} steps: {commit}")
            answer = self._ask(base.with_pin("repos", name, _pin(commit, base.repos[name])), str(commit))
            if answer.verdict is Verdict.SKIP:
                skipped.add(half)
            elif answer.verdict is Verdict.GOOD:
                good.add(half)
            else:
                bad = half
        suspects = history.suspects(bad, good)
        return [one for one in suspects if one == bad or one in skipped]

    def _skipped_in(self, history: History) -> set[str]:
        """Return the full ids of the commits that the user skips."""
        known = history.suspects(history.bad, [history.good])
        return {one for one in known for word in self._skipped if one.startswith(word)}

    def _ask(self, lock: Lock, what: str) -> Answer:
        """Return the answer for a state, from a former run if it has one."""
        state = [[_facts(pin) for _, pin in sorted(lock.pins(table).items())] for table in ("repos", "seeds")]
        key = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
        if key not in self._known:
            answer = self._question.answer(self._open(lock), self._options)
            self._known[key] = {"verdict": answer.verdict.value, "why": answer.why}
            state_text = json.dumps({"key": self._key, "answers": self._known}, indent=1)
            write_atomically(self._folder / "state.json", state_text)
        known = Answer(Verdict(self._known[key]["verdict"]), self._known[key]["why"])
        self._say(f"{what}: {known.verdict} ({known.why})")
        self._answers.append((what, known.verdict.value, known.why))
        return known

    def _say(self, text: str) -> None:
        for listener in self._listeners:
            listener(NodeNotice(node="bisect", text=text))


def _time_of(pin: Pin) -> int:
    try:
        return calendar.timegm(time.strptime(str(pin.get("date")), "%Y-%m-%d %H:%M:%S"))
    except (ValueError, OverflowError):
        return 0


def _pin(commit: HistoryCommit, like: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pin of a commit. Signatures of commits between two pins are not verified: the pins have the ids."""
    date = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(commit.time))
    return {"request": like["request"], "date": date, "commit": commit.id, "tree": commit.tree}


def lines(found: Found) -> Iterator[str]:
    """Yield the result in words."""
    names = ", ".join(found.names)
    if len(found.names) > 1:
        yield f"one of {names}: the states between them cannot be built"
    elif not found.commits:
        yield f"{names} is the first bad one: no commits are known between its two states"
        for word, pin in (("good", found.good), ("bad", found.bad)):
            yield f"  {word}: {pin.get('file') or pin.get('date') or pin.get('tree') or 'see the lock'}"
    elif found.is_certain:
        (commit,) = found.commits
        yield f"{commit.id} of {names} is the first bad commit"
        yield f"  {commit.subject}"
        yield f"  {commit.author}, {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(commit.time))} UTC"
    else:
        yield f"one of {len(found.commits)} commits of {names} is the first bad one; the others cannot be built"
        yield from (f"  {commit}" for commit in found.commits)
