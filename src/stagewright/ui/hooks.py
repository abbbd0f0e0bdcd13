"""Hooks: programs of the user that get events of builds as JSON, such as one that sends a message at the end.

::

    /etc/stagewright/hooks.toml
    ~/.config/stagewright/hooks.toml    or below XDG_CONFIG_HOME

    [hooks.desktop]
    command = ["/usr/share/stagewright/hooks/desktop-notification"]
    events = ["RunFinished"]

A hook runs with the rights of the user, so projects cannot have any. It gets one event on standard input, as a line of
JSON. It runs next to the build: the build does not wait for it, except at its end, and a hook that fails or takes too
long is reported and does not change the result.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from stagewright.errors import ProblemsError, Reason, StagewrightError, nearest
from stagewright.events import Event
from stagewright.project.fields import Section
from stagewright.project.source import read
from stagewright.project.tables import Problems, Table
from stagewright.project.validate import validate
from stagewright.run import run
from stagewright.ui.streams import note
from stagewright.ui.text import printable

FILE = "stagewright/hooks.toml"

USUAL = ("RunStarted", "RunFinished", "NodeFinished")
"""Events that a hook gets if it names none."""

TIMEOUT = 60.0
"""Seconds that one call may take."""

_MOST_WAITING = 1000


class Hook(Section):
    """``[hooks.NAME]``: a program that gets events."""

    command: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    """The program and its arguments. A path can begin with `~/`."""
    events: list[str] = list(USUAL)
    """The names of the events that it gets, such as `RunFinished`; `*` for all."""
    timeout: Annotated[float, Field(gt=0)] = TIMEOUT
    """Seconds that one call may take."""

    @field_validator("events")
    @classmethod
    def _known(cls, events: list[str]) -> list[str]:
        for name in events:
            if name != "*" and name not in Event._types:
                facts = {"hint": nearest(name, Event._types)}
                raise PydanticCustomError("event", "unknown event", facts)
        return events


def hook_files() -> Sequence[Path]:
    """Return the files with the hooks of this computer and of the user, which need not exist."""
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return (Path("/etc") / FILE, own / FILE)


def hooks_of(files: Sequence[Path]) -> dict[str, Hook]:
    """Return the hooks in files; a later file replaces hooks of the same name. Raises everything that is wrong."""
    problems: Problems = []
    found: dict[str, Hook] = {}
    for file in files:
        if not file.exists():
            continue
        source = read(file)
        tables = source.data.get("hooks", {})
        if not isinstance(tables, dict):
            what = "`hooks` must hold tables"
            raise StagewrightError(
                Reason.INVALID_VALUE, what, place=source.place(("hooks",)), hint="write [hooks.NAME]"
            )
        for name, data in tables.items():
            values, keys = (
                {path[2:]: place for path, place in known.items() if path[:2] == ("hooks", name)}
                for known in (source.values, source.keys)
            )
            model = validate(Hook, Table(data, values, keys), "hook", problems).model
            if model:
                found[name] = model
    if problems:
        raise ProblemsError(problems)
    return found


class Hooks:
    """A listener that calls hooks; use it as a context manager. At its end it waits for the calls that are left."""

    def __init__(self, hooks: dict[str, Hook]) -> None:
        self._hooks = hooks
        self._waiting: queue.Queue[Event | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="hooks", daemon=True)

    def __enter__(self) -> Hooks:
        if self._hooks:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hooks:
            self._waiting.put(None)
            self._thread.join()

    def __call__(self, event: Event) -> None:
        """Hand an event over. If a slow hook lets too many wait, further ones are left out."""
        name = type(event).__name__
        if any("*" in hook.events or name in hook.events for hook in self._hooks.values()):
            try:
                self._waiting.put_nowait(event)
            except queue.Full:
                return

    def _run(self) -> None:
        while (event := self._waiting.get()) is not None:
            for name, hook in self._hooks.items():
                if "*" in hook.events or type(event).__name__ in hook.events:
                    self._call(name, hook, event)

    def _call(self, name: str, hook: Hook, event: Event) -> None:
        words = [os.path.expanduser(hook.command[0]), *hook.command[1:]]  # noqa: PTH111  not every word is a path
        names = ("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "HOME", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR", "USER", "PATH")
        env = {name: os.environ[name] for name in names if name in os.environ}
        try:
            limited = ["timeout", "--kill-after=5", f"{hook.timeout:g}", *words]
            done = run(limited, stdin=event.to_json().encode() + b"\n", env=env, check=False)
        except StagewrightError as error:
            note(printable(f"hook {name}: {error.message}"))
            return
        if done.code:
            why = "took too long" if done.code in (124, 137) else f"failed with {done.code}"
            note(printable(f"hook {name}: {why} {done.stderr.strip()[-200:]}".rstrip()))
