"""Make the pictures in docs/images from real runs: ``make pictures [ONLY=NAME]``.

Terminals become SVGs (tools/terminal_svg.py), screens of virtual machines PNGs. All runs are those of the template
``debian``. The recording is made first, in an empty store; the machines are then started from what it has built. With
two cores and without hardware virtualisation all pictures take about eight minutes.
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import select
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fcntl import ioctl
from functools import partial
from pathlib import Path
from termios import TIOCSWINSZ

import pyte

from tools.terminal_svg import Line, Screen, lines_of, recording, still

IMAGES = Path(__file__).parents[1] / "docs" / "images"
COLUMNS, ROWS = 100, 24

BREAK = 's/kind = "embedded"/kind = "embeded"/; s/^title = .*/titel = "demo"/'
BREAK_EBUILD = ("src_compile() {", 'src_compile() {\n\teinfo "Linking"; false || die "the linker found no -lm"')

PAUSE = 1.2
"""Seconds between the command and its output, and after each command, in the recording."""
LONGEST = 0.4
"""Longest time for which a screen of a running command stays in the recording."""


@dataclass
class Place:
    """The folder and the store of some commands."""

    folder: Path
    store: Path

    def environment(self) -> dict[str, str]:
        """Return the variables that the commands see."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        given = {name: value for name, value in os.environ.items() if "proxy" in name.lower()}
        found = {"PATH": path, "HOME": str(self.folder), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        return {**given, **found, "STAGEWRIGHT_STORE": str(self.store)}


@dataclass
class Terminal:
    """A terminal that runs commands and keeps what it shows."""

    place: Place
    rows: int = ROWS
    screens: list[Screen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._screen = pyte.Screen(COLUMNS, self.rows)
        self._stream = pyte.ByteStream(self._screen)
        self._clock = 0.0

    def lines(self) -> tuple[Line, ...]:
        """Return what the terminal shows now."""
        return lines_of(self._screen)

    def run(self, command: str) -> None:
        """Show a command, run it, and show its output. ``cd FOLDER`` changes the folder of the commands after it."""
        self._stream.feed(f"\x1b[1;32m$\x1b[0m \x1b[1m{command}\x1b[0m\r\n".encode())
        self._keep(PAUSE)
        if command.startswith("cd "):
            self.place.folder /= shlex.split(command)[1]
            return
        for said in _output(command, self.place, self.rows):
            self._stream.feed(said.replace(f"{self.place.folder}/".encode(), b""))
            self._keep(LONGEST)
        self._keep(PAUSE)

    def _keep(self, seconds: float) -> None:
        """Keep what is shown now for a time, if it differs from what was shown before in more than numbers."""
        shown = _words(self.lines())
        if not self.screens or _words(self.screens[-1].lines) != shown:
            self.screens.append(Screen(self._clock, self.lines()))
            self._clock += seconds
        elif self.screens[-1].lines != self.lines():
            self.screens[-1] = Screen(self.screens[-1].seconds, self.lines())


def _words(lines: Sequence[Line]) -> list[str]:
    """Return the texts of lines, without what runs all the time: times, sizes and the spinner."""
    return [re.sub(r"<[^>]*>|[\d.:\u2800-\u28ff]+|[sm]\b", "", line) for line in lines]


def _output(command: str, place: Place, rows: int) -> Iterator[bytes]:
    """Run a command on a pseudo terminal and yield its output: what comes within two seconds in one piece."""
    master, slave = pty.openpty()
    ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", rows, COLUMNS, 0, 0))
    done = subprocess.Popen(
        ["sh", "-c", command],
        cwd=place.folder,
        env=place.environment(),
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    open_, said, since = True, b"", time.monotonic()
    while open_:
        if select.select([master], [], [], 0.2)[0]:
            try:
                said += os.read(master, 65536)
            except OSError:  # the command has ended
                open_ = False
        if said and (not open_ or time.monotonic() - since > 2):
            yield said
            said, since = b"", time.monotonic()
    os.close(master)
    done.wait()


def _still(name: str, place: Place, commands: list[str]) -> None:
    """Write a picture of commands with their output."""
    terminal = Terminal(place, rows=80)
    for command in commands:
        terminal.run(command)
    (IMAGES / f"{name}.svg").write_text(still(terminal.lines(), COLUMNS, "stagewright"), encoding="utf-8")


def _failed(place: Place) -> None:
    """Write a picture of a build whose package fails. The ebuild is as before afterwards."""
    (ebuild,) = place.folder.glob("repo/app-misc/hello/*.ebuild")
    text = ebuild.read_text(encoding="utf-8")
    ebuild.write_text(text.replace(*BREAK_EBUILD), encoding="utf-8")
    try:
        _still("failed", place, ["stagewright build system"])
    finally:
        ebuild.write_text(text, encoding="utf-8")


def _recording(place: Place) -> None:
    terminal = Terminal(place)
    for command in ("stagewright init debian my-live", "cd my-live", "stagewright check", "stagewright build"):
        terminal.run(command)
    title = "a new project, built and booted (pauses are shortened)"
    text = recording(terminal.screens, COLUMNS, ROWS, title)
    (IMAGES / "recording.svg").write_text(text, encoding="utf-8")


def _graph(place: Place) -> None:
    words = ["stagewright", "graph", "--as", "svg"]
    drawn = subprocess.run(words, cwd=place.folder, env=place.environment(), check=True, capture_output=True, text=True)
    (IMAGES / "graph.svg").write_text(drawn.stdout, encoding="utf-8")


def _screen(name: str, place: Place, *options: str) -> None:
    words = ["stagewright", "boot", "iso", *options, "--screenshot", str(IMAGES / f"{name}.png")]
    subprocess.run(words, cwd=place.folder, env=place.environment(), check=True)


QUIET = ("--append", "quiet loglevel=3 console=tty0", "--until", "login:", "--seconds", "900")
"""The last console of the kernel is the screen, so the greeting is there; the login on the serial line follows it."""
MENU = ("--until", r"Boot in \d+ s", "--seconds", "900")
"""systemd-boot writes its menu on the screen and on the serial line."""


def pictures(built: Place, empty: Place) -> dict[str, Callable[[], None]]:
    """Return the makers of all pictures, in their order. ``built`` is filled by the recording."""
    return {
        "recording": partial(_recording, built),
        "graph": partial(_graph, built),
        "booted": partial(_screen, "booted", built, *QUIET),
        "menu": partial(_screen, "menu", built, *MENU),
        "failed": partial(_failed, built),
        "plan": partial(_still, "plan", empty, ["stagewright init debian my-live", "cd my-live", "stagewright plan"]),
        "error": partial(_still, "error", empty, [f"sed -i '{BREAK}' stagewright.toml", "stagewright check"]),
    }


def main() -> None:
    """Write all pictures, or the ones that are named with those that they continue."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="NAME", nargs="*", default=[], help="make these pictures alone")
    parser.add_argument("--work", type=Path, help="a folder that keeps project and store between runs")
    given = parser.parse_args()
    work = given.work or Path(tempfile.mkdtemp(prefix="pictures-"))
    try:
        places = [Place(work / name, work / f"{name}-store") for name in ("built", "empty")]
        for place in places:
            place.folder.mkdir(parents=True, exist_ok=True)
            if (place.folder / "my-live").is_dir():
                place.folder /= "my-live"
        for name, make in pictures(*places).items():
            if not given.only or name in given.only:
                make()
                print(f"{name}: done")
    finally:
        if not given.work:
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
