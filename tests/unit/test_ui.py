"""Faces: each event as a line, as a live display, as JSON."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from test_events import ERROR, TYPES, example

from stagewright.errors import Place, ProblemsError, Reason, StagewrightError
from stagewright.events import (
    Event,
    FileProgress,
    FileServed,
    FilesRead,
    ListenerDropped,
    NodeFinished,
    NodeMoved,
    NodeNotice,
    NodePhase,
    NodeProgress,
    NodeStarted,
    NodeWaiting,
    Published,
    ResultMoved,
    RunFinished,
    RunStarted,
    ServerSaid,
    Status,
)
from stagewright.ui.jsonlines import JsonLines
from stagewright.ui.live import LiveTerminal, last_line, middle
from stagewright.ui.plain import Plain, describe
from stagewright.ui.style import Style, Styled, is_plain, write_line
from stagewright.ui.text import duration, error_text, size

LINES: list[tuple[Event, list[str]]] = [
    (RunStarted(run="r", project="demo", nodes=["a", "b"], cached=3), ["demo", "2", "3"]),
    (NodeStarted(node="a", kind="tarball", key="k", log="l"), ["a", "tarball"]),
    (NodeMoved(node="a", machine="build\x1b2"), ["a", "on build\\x1b2"]),
    (NodeWaiting(node="a"), ["a"]),
    (NodePhase(node="a", phase="fetch"), ["a", "fetch"]),
    (NodeProgress(node="a", done=2, total=5, name="x/y-1"), ["a", "2", "5", "x/y-1"]),
    (NodeNotice(node="a", text="nothing matches"), ["a", "nothing matches"]),
    (FilesRead(folder="/srv/gentoo", done=20000), ["/srv/gentoo", "20000 files"]),
    (NodeFinished(node="a", status=Status.BUILT, seconds=65, size=2048), ["a", "1m05s", "2 KiB"]),
    (NodeFinished(node="a", status=Status.FAILED, seconds=5, error={**ERROR, "message": "why"}), ["a", "5.0s", "why"]),
    (NodeFinished(node="a", status=Status.CACHED), ["a"]),
    (NodeFinished(node="a", status=Status.SKIPPED), ["a"]),
    (NodeFinished(node="a", status=Status.INTERRUPTED), ["a"]),
    (
        FileServed(client="c", method="GET", path="/p\n", status=200, size=2048, seconds=2),
        ["c", "/p\\n", "2 KiB", "2.0s"],
    ),
    (
        FileServed(client="c", method="GET", path="/p", status=206, start=1024, complete=False),
        ["1 KiB on", "broken off"],
    ),
    (FileProgress(client="c", path="/p", done=1, total=4), ["c", "/p", "25 %"]),
    (
        ResultMoved(node="a", key="k", remote="central", direction="pull", sent=2048, size=4096, seconds=2),
        ["a", "pulled from central", "2 KiB for 4 KiB", "2.0s"],
    ),
    (ServerSaid(program="dnsmasq", text="sent"), ["dnsmasq", "sent"]),
]


@pytest.mark.parametrize(("event", "words"), LINES)
def test_plain_lines(event: Event, words: list[str]) -> None:
    stream = io.StringIO()
    Plain(stream)(event)
    line = stream.getvalue()
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert all(word in line for word in words), line


def test_every_event_is_described() -> None:
    assert {type(event) for event, _ in LINES} == set(TYPES) - {
        Published,
        ListenerDropped,
        RunFinished,
    }  # the command and the logger show these


def test_a_run_without_work_says_nothing() -> None:
    stream = io.StringIO()
    Plain(stream)(RunStarted(run="r", project="p", nodes=[], cached=3))
    assert not stream.getvalue()
    assert describe(Event()) == ""


@pytest.mark.parametrize("kind", TYPES)
def test_json_lines(kind: type[Event]) -> None:
    stream = io.StringIO()
    listener = JsonLines(stream)
    listener(example(kind))
    listener(example(kind))
    first, second = stream.getvalue().splitlines()
    assert json.loads(first) == json.loads(second)
    assert Event.from_json(first) == example(kind)


def shown(events: list[Event], **options: Any) -> str:
    """Return the text on a terminal: everything that was drawn on it."""
    console = Console(
        file=io.StringIO(), force_terminal=True, width=100, color_system=None, legacy_windows=False, **options
    )
    with LiveTerminal(console) as live:
        for event in events:
            live(event)
            live._live.refresh()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_live_terminal_shows_phase_package_and_result() -> None:
    text = shown(
        [
            RunStarted(run="r", project="demo", nodes=["a", "b"], cached=0),
            NodeStarted(node="a", kind="embedded", key="k", log="l"),
            NodePhase(node="a", phase="build"),
            NodeProgress(node="a", done=2, total=5, name="app-misc/hello-1.0"),
            NodeWaiting(node="b"),
            NodeFinished(node="a", status=Status.BUILT, seconds=2, size=5),
            NodeFinished(node="b", status=Status.FAILED, error=ERROR),
        ]
    )
    for word in ("build", "2 of 5: app-misc/hello-1.0", "1 of 2 done", "2 of 2 done", "a: done in 2.0s", "✘ b"):
        assert word in text, word


def test_pins_are_not_counted_as_nodes() -> None:
    text = shown(
        [
            NodeStarted(node="seed:a", kind="bootstrap", key="", log="l"),
            NodeFinished(node="seed:a", status=Status.BUILT, seconds=15),
            RunStarted(run="r", project="demo", nodes=["seed:a", "b"], cached=0),
            NodeStarted(node="seed:a", kind="bootstrap", key="k", log="l"),
            NodeFinished(node="seed:a", status=Status.BUILT, seconds=44),
            NodeWaiting(node="b"),
            NodeFinished(node="b", status=Status.FAILED, error=ERROR),
        ]
    )
    for word in ("seed:a: looked up in 15s", "seed:a: done in 44s", "1 of 2 done", "2 of 2 done, 1 failed"):
        assert word in text, word
    assert "1 waiting for another run" in text
    assert "3 of 2" not in text


def test_the_last_line_of_a_silent_log_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stagewright.ui.live.QUIET", -1.0)
    log = tmp_path / "log"
    log.write_text("first\nchecking for \x1b[2Jgcc... yes\n\n", encoding="utf-8")
    text = shown(
        [
            RunStarted(run="r", project="p", nodes=["a"], cached=0),
            NodeStarted(node="a", kind="k", key="k", log=str(log)),
        ]
    )
    assert "checking for \\x1b[2Jgcc... yes" in text
    assert last_line(str(tmp_path / "none")) == ""


@pytest.mark.parametrize(
    ("text", "width", "cut"), [("short", 8, "short"), ("a-rather-long-stage-name-1", 13, "a-rat...ame-1")]
)
def test_long_names_are_cut_in_the_middle(text: str, width: int, cut: str) -> None:
    assert middle(text, width) == cut


@pytest.mark.parametrize(("term", "plain"), [("dumb", True), ("", True), ("xterm", False)])
def test_a_dumb_terminal_gets_plain_lines_and_no_colours(
    term: str, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not term:
        monkeypatch.delenv("TERM")
    assert is_plain(Screen()) is plain
    assert is_plain(io.StringIO())
    stream = Screen()
    write_line(["x ", Styled("red\x1b[2J", Style.RED)], stream)
    assert stream.getvalue() == ("x red\x1b[2J\n" if plain else "x \x1b[31mred\\x1b[2J\x1b[0m\n")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Screen()
    write_line([Styled("red", Style.RED)], stream)
    assert stream.getvalue() == "red\n"


@pytest.mark.parametrize("name", ["[bold]x[/bold]", "[/nothing]", "[red", "a[1]", ":smile:", "[link=x]y"])
def test_names_are_shown_as_they_are(name: str) -> None:
    """Square brackets are markup to rich, and packages of foreign repositories may be called anything."""
    values: dict[str, Any] = {
        "node": name,
        "phase": name,
        "name": name,
        "text": name,
        "error": {**ERROR, "message": name},
    }
    text = shown(
        [
            RunStarted(run="r", project=name, nodes=[name], cached=0),
            NodeStarted(node=name, kind=name, key="k", log="l"),
            NodePhase(node=name, phase=f"phase {name}"),
            NodeProgress(node=name, done=1, total=2, name=f"package {name}"),
            NodeNotice(node=name, text=f"notice {name}"),
            NodeFinished(node=name, status=Status.FAILED, error=values["error"]),
        ]
    )
    for word in (f"phase {name}", f"1 of 2: package {name}", f"notice {name}", f": {name}"):
        assert word in text, word


def test_events_of_nodes_that_never_began() -> None:
    assert "x" in shown(
        [
            NodePhase(node="x", phase="p"),
            NodeProgress(node="x", done=1, total=1, name="n"),
            NodeFinished(node="x", status=Status.SKIPPED),
        ]
    )


def test_a_narrow_terminal() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=12)
    with LiveTerminal(console) as live:
        live(NodeStarted(node="a-node-with-a-long-name", kind="k", key="k", log="l"))
        live(NodeProgress(node="a-node-with-a-long-name", done=1, total=2, name="x" * 80))
        live._live.refresh()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0.0s"), (0.26, "0.3s"), (9.94, "9.9s"), (12.4, "12s"), (59.6, "1m00s"), (185, "3m05s")),
        *((3599.7, "1h00m"), (3720, "1h02m"), (360_000, "100h00m")),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (5 << 20, "5 MiB"), (3 << 29, "1.5 GiB"), (5 << 40, "5120.0 GiB")],
)
def test_size(count: int, text: str) -> None:
    assert size(count) == text


def test_the_text_of_errors() -> None:
    first = StagewrightError(Reason.SYNTAX, "one", place=Place(Path("x"), 2, 3), hint="do this")
    second = StagewrightError(Reason.CYCLE, "two", detail="more")
    assert error_text(first) == "error: x:2:3: one\n  hint: do this"
    text = error_text(ProblemsError([first, second]))
    assert text.startswith("error: two\nmore\nerror: x:2:3: one")
    assert text.endswith("2 errors")
    assert error_text(ProblemsError([first])) == error_text(first)


# texts of others: a title for the window (OSC 0), the clipboard (OSC 52), colours and an overwritten line

HOSTILE = "\x1b]0;pwned\x07 \x1b]52;c;cm0gLXJm\x1b\\ \x1b[31mred \x9b2J gone\rover \u202egnp.exe"


def obeyed(text: str) -> list[str]:
    """Return the characters that a terminal would obey."""
    return [letter for letter in text.replace("\r\n", "") if not letter.isprintable() and letter not in "\n\t"]


def test_texts_of_others_do_not_control_the_terminal() -> None:
    error = StagewrightError(Reason.COMMAND_FAILED, f"the server answers 500 {HOSTILE}", detail=f"1\n\t{HOSTILE}")
    several = ProblemsError([error, error])
    events: list[Event] = [
        NodePhase(node="a", phase=HOSTILE),
        NodeProgress(node="a", done=1, total=2, name=HOSTILE),
        NodeNotice(node="a", text=HOSTILE),
        NodeFinished(node="a", status=Status.FAILED, error=error.to_dict()),
    ]
    shown = [error_text(error), error_text(several), *map(describe, events)]
    assert [obeyed(text) for text in shown] == [[]] * len(shown)
    assert all("pwned" in text for text in shown)
    assert "1\n\t\\x1b]0;pwned\\x07" in shown[0]


def test_the_live_terminal_draws_texts_of_others_escaped() -> None:
    stream = io.StringIO()
    with LiveTerminal(Console(file=stream, force_terminal=True, width=200)) as live:
        for event in (
            RunStarted(run="1", project="p", nodes=["a"], cached=0),
            NodeStarted(node="a", kind="root", key="k", log="l"),
            NodePhase(node="a", phase=HOSTILE),
            NodeProgress(node="a", done=1, total=2, name=HOSTILE),
            NodeNotice(node="a", text=HOSTILE),
        ):
            live(event)
    for sequence in ("\x1b]0;", "\x1b]52;", "\x9b", "\u202e", "\x07"):
        assert sequence not in stream.getvalue()
    assert "pwned" in stream.getvalue()


@pytest.mark.parametrize("call", ["print({text})", "note({text})", "document({text})", "sys.stdout.write({text})"])
def test_a_terminal_gets_no_control_characters_but_a_pipe_does(call: str) -> None:
    program = "import sys; from stagewright.ui.streams import document, note, prepare_streams; prepare_streams()\n"
    words = [sys.executable, "-c", program + call.format(text=ascii(HOSTILE))]
    terminal, inner = pty.openpty()
    with subprocess.Popen(words, stdout=inner, stderr=inner) as process:
        os.close(inner)
        said = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while chunk := os.read(terminal, 4096):
                said += chunk
    os.close(terminal)
    assert process.returncode == 0
    assert b"pwned" in said
    assert obeyed(said.decode()) == []
    piped = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True).stdout
    assert HOSTILE.encode() in piped.rstrip(b"\n")
