"""Events: a line of JSON each, which is read back as the same event."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagewright import events
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event, ListenerDropped, Listeners, NodeFinished, NodeNotice, RunFinished, Status

ERROR = StagewrightError(Reason.BUILD_FAILED, "m", detail="a\nb").to_dict()
VALUES: dict[str, Any] = {
    **{
        "run": "r",
        "project": "p",
        "nodes": ["a"],
        "cached": 1,
        "node": "seed:a\n",
        "kind": "k",
        "key": "k",
        "log": "/l",
        "records": "p-1",
        "inputs": {"a": ["seed:a"]},
        "changed": {"a": ["code"]},
        "format": 1,
        "machine": "builder-1",
        "machine_root": "/store/failed/farm/a",
    },
    **{"phase": "fetch", "done": 1, "total": 2, "name": "a/b-1", "text": 'say "é"', "seconds": 1.5, "size": 3},
    **{
        "waits": True,
        "client": "::1",
        "method": "GET",
        "path": "/a b",
        "start": 7,
        "complete": False,
        "program": "dnsmasq",
    },
    **{"folder": "/srv/gentoo", "listener": "JsonLines", "problem": "Broken pipe"},
    **{"remote": "central", "direction": "pull", "sent": 2},
    **{"error": ERROR, "outputs": {"iso": ["/out/x.iso"]}},
}
TYPES = [
    value
    for value in vars(events).values()
    if isinstance(value, type) and issubclass(value, Event) and value is not Event
]


def example(kind: type[Event], **values: Any) -> Event:
    names = {field.name for field in dataclasses.fields(kind)} - {"time"}
    known = {**VALUES, "status": Status.FAILED, **values}
    return kind(time=3.25, **{name: known[name] for name in names})


@pytest.mark.parametrize("kind", TYPES)
def test_an_event_is_one_line_and_comes_back(kind: type[Event]) -> None:
    event = example(kind)
    line = event.to_json()
    assert "\n" not in line
    assert json.loads(line)["event"] == kind.__name__
    assert Event.from_json(line) == event


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("kind", [NodeFinished, RunFinished])
def test_a_status_comes_back(kind: type[Event], status: Status) -> None:
    assert Event.from_json(example(kind, status=status).to_json()) == example(kind, status=status)


def test_what_was_left_out_has_its_default() -> None:
    event = NodeFinished(node="a", status=Status.BUILT)
    assert "error" not in json.loads(event.to_json())
    assert Event.from_json(event.to_json()) == event


@given(st.text())
def test_any_text_survives(text: str) -> None:
    event = NodeNotice(node=text, text=text)
    assert Event.from_json(event.to_json()) == event


LINES = [
    "",
    "x",
    "3",
    "null",
    "[]",
    "{}",
    '{"event": "Nothing"}',
    '{"event": "NodePhase"}',
    '{"event": 3}',
    '{"event": []}',
]


@pytest.mark.parametrize("line", [*LINES, '{"event": "NodePhase", "node": "a", "phase": "b", "more": 1}'])
def test_a_line_that_is_not_an_event_is_rejected(line: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        Event.from_json(line)


# listeners

NOTICE = NodeNotice(node="a", text="t")


def broken(error: BaseException) -> Any:
    def listener(event: Event) -> None:
        raise error

    return listener


def test_a_listener_that_fails_is_dropped_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    first: list[Event] = []
    last: list[Event] = []
    listeners = Listeners(first.append, broken(BrokenPipeError(32, "Broken pipe")), last.append)
    with caplog.at_level(logging.WARNING):
        listeners(NOTICE)
        listeners(NOTICE)
    assert [type(event) for event in first] == [NodeNotice, ListenerDropped, NodeNotice]
    assert [type(event) for event in last] == [NodeNotice, ListenerDropped, NodeNotice]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Broken pipe" in caplog.text
    assert "Traceback" not in caplog.text


def test_the_defect_of_a_listener_is_shown_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    Listeners(broken(ValueError("odd")))(NOTICE)
    assert "Traceback" in caplog.text
    assert "ValueError: odd" in caplog.text


def test_listeners_that_all_fail_are_all_dropped(caplog: pytest.LogCaptureFixture) -> None:
    listeners = Listeners(broken(OSError("one")), broken(OSError("two")), broken(OSError("three")))
    listeners(NOTICE)
    listeners(NOTICE)
    assert sorted(record.getMessage().partition("(")[2] for record in caplog.records) == ["one)", "three)", "two)"]


def test_an_interrupt_in_a_listener_is_passed_on() -> None:
    with pytest.raises(KeyboardInterrupt):
        Listeners(broken(KeyboardInterrupt()))(NOTICE)


def test_a_listener_can_be_added_for_a_block() -> None:
    seen: list[Event] = []
    listeners = Listeners()
    with listeners.also(seen.append):
        listeners(NOTICE)
    listeners(NOTICE)
    assert seen == [NOTICE]
