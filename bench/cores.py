"""Two stages that compile, next to stages that do not: no core is idle while a job waits, and no core is oversold.

It looks at the processes of the run alone, so other load on the machine does not count: a process that could run is
busy, whether a core is free for it or not.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bench.measure import Row, Setting, command, copy_of_demo, stagewright

LOOK = 0.03
"""Seconds between two looks."""

_COMPILERS = ("cc1", "cc1plus", "rustc", "lto1")

_STAGES = """
[stages.{name}]
kind = "embedded"
root = "debian"
profile = "default/linux/amd64"
packages = ["app-misc/{name}"]
binpkgs = false
"""

_EBUILD = """EAPI=8
DESCRIPTION="Some C files"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"
S=${WORKDIR}

src_compile() {
	for file in $(seq FILES); do
		for number in $(seq 700); do
			echo "int f${file}_${number}(int a) { int s = TURN;" \\
				"for (int i = 0; i < a; i++) s += f${file}_$((number - 1))(i) * ${number}; return s; }"
		done > more
		{ echo "int f${file}_0(int a) { return a; }"; cat more; } > file${file}.c
	done
	echo 'all: $(patsubst %.c,%.o,$(wildcard *.c))' > Makefile
	emake CFLAGS=-O1
}

src_install() {
	:
}
"""
"""An ebuild of as many C files as FILES says, each of which takes a second of processor time or less.

TURN is another number in each run of the benchmark, so that the store has no result of the same contents.
"""

_FILES = (80, 40)
"""Files of the stages: the run is as long as that of the demo, for which the limit was set."""

_SHORT = '[stages.short{number}]\nkind = "livecd-stage1"\nroot = "{root}"\nhostname = "h{turn}-{number}"\n'


@dataclass(frozen=True)
class _Look:
    """State of the run at one time: processes that could run, compilers among them, and jobs that could start.

    ``waits`` is True if a node that compiles has all its tokens in use, so that jobs may wait.
    """

    time: float
    running: int
    compilers: int
    waits: bool


def measure(setting: Setting) -> list[Row]:
    """Build once, and compare the looks with the events of the run."""
    project = copy_of_demo(setting, "cores")
    turn = time.time_ns() // 1000 % 10**9
    stages = []
    for number, files in enumerate(_FILES):
        name = f"many{number}"
        ebuild = project / "repo" / "app-misc" / name / f"{name}-1.ebuild"
        ebuild.parent.mkdir(parents=True)
        text = _EBUILD.replace("FILES", str(setting.count(files))).replace("TURN", str(turn))
        ebuild.write_text(text, encoding="utf-8")
        stages.append(_STAGES.format(name=name))
    roots = ["debian", "short0", "short1"]
    short = [_SHORT.format(number=number, root=root, turn=turn) for number, root in enumerate(roots)]
    with (project / "stagewright.toml").open("a", encoding="utf-8") as file:
        file.write("".join([*stages, *short]))
    stagewright(project, setting.store, "build", "debian", "--progress=quiet")
    before = set(_folders(setting.store))
    targets = ["many0", "many1", "short2"]
    with (setting.folder / "events").open("wb+") as events:
        words = command(project, setting.store, "build", *targets, "--progress=json", "--keep-going")
        with subprocess.Popen(words, stdout=events, stderr=subprocess.DEVNULL) as run:
            looks = []
            while run.poll() is None:
                looks.append(_look(run.pid, set(_folders(setting.store)) - before))
                time.sleep(LOOK)
        if run.returncode:
            raise subprocess.CalledProcessError(run.returncode, words)
        events.seek(0)
        ready = _ready([json.loads(line) for line in events])
    assert len(ready) == len(stages) + len(short), "results of an earlier run were taken"
    cores = len(os.sched_getaffinity(0))
    lost = 0.0
    for look, following in pairwise(looks):
        waiting = look.waits or any(start <= look.time < end for start, end in ready)
        lost += (following.time - look.time) if waiting and look.running < cores else 0.0
    seconds = looks[-1].time - looks[0].time
    most = max(look.compilers for look in looks)
    return [
        Row("a core idle while a job waits", lost / seconds * 100, 5, "%", f"{lost:.1f} of {seconds:.1f} s"),
        Row("compilers at once", most, cores + 1, "", f"{cores} cores"),
    ]


def _ready(events: Sequence[Mapping[str, object]]) -> list[tuple[float, float]]:
    """Return when each node could start, and when it did (seconds since 1970)."""
    (inputs,) = [dict(event["inputs"]) for event in events if event["event"] == "RunStarted"]  # type: ignore[call-overload]
    (begin,) = [float(str(event["time"])) for event in events if event["event"] == "RunStarted"]
    ends = {str(event["node"]): float(str(event["time"])) for event in events if event["event"] == "NodeFinished"}
    starts = {str(event["node"]): float(str(event["time"])) for event in events if event["event"] == "NodeStarted"}
    return [
        (max([begin, *(ends[source] for source in inputs[node] if source in ends)]), start)
        for node, start in starts.items()
    ]


def _folders(store: Path) -> list[Path]:
    return list((store / "work").glob("*/jobs/tokens"))


def _look(run: int, fifos: set[Path]) -> _Look:
    states = _states()
    parents, found = {run}, []
    while parents:
        children = {pid for pid, (parent, _, _) in states.items() if parent in parents}
        found += [states[pid][1:] for pid in children]
        parents = children
    running = [name for name, state in found if state == "R"]
    compilers = sum(name in _COMPILERS for name in running)
    return _Look(time.time(), len(running), compilers, any(_free(fifo) == 0 for fifo in fifos))


def _states() -> dict[int, tuple[int, str, str]]:
    """Return the parent, the name and the state of each process."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                text = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
                name, _, rest = text.partition("(")[2].rpartition(") ")
                state, parent, *_ = rest.split(maxsplit=2)
                found[int(entry.name)] = (int(parent), name, state)
    return found


def _free(fifo: Path) -> int | None:
    """Return the number of tokens in a FIFO; None if the node has ended."""
    with suppress(OSError):
        descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        try:
            (free,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0"))
            return int(free)
        finally:
            os.close(descriptor)
    return None
