"""Job tokens of a build: how the programs of a root learn of the cores that they may use.

The engine gives each node that compiles a folder with a FIFO of the jobserver of GNU make: each byte in it permits one
job. A program at the top, such as make(1), runs one job more than it has bytes; so it is started with a byte taken. The
folder is mounted read-only at :data:`INSIDE`; the FIFO can still be written. make from 4.4 and ninja from
1.13 open it by its name. Older makes know only descriptors, which a shell opens for them (:func:`makeflags`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

INSIDE = "/run/stagewright-jobs"
"""Where commands of a build see the folder. bwrap(1) makes a folder between /run and it for root alone."""

FIFO = "tokens"
"""Name of the FIFO: a byte for each job that may start now."""

SPARE = "cores"
"""Name of the file with the number of jobs that a program which knows no tokens may run, if it starts now."""

FLAG = f"--jobserver-auth=fifo:{INSIDE}/{FIFO}"
"""Option of make, from 4.4 on, for the FIFO. ninja, cargo and Portage look for it in MAKEFLAGS."""


def folder_of(work: Path) -> Path:
    """Return the folder with the tokens of a node, by its work folder. It exists if the node has tokens."""
    return work / "jobs"


def makeflags(jobs: int, reads: int, writes: int) -> str:
    """Return lines for a shell that set MAKEFLAGS for the make of the root; it stays unset if make knows no tokens.

    ``jobs`` is the largest number of jobs. A make from 4.2 to 4.3 gets descriptors of the FIFO with these numbers.
    """
    fifo = f"{INSIDE}/{FIFO}"
    return f"""\
unset MAKEFLAGS
case $(${{MAKE:-make}} --version 2>/dev/null) in
"GNU Make "[0-3].* | "GNU Make 4."[01][!0-9]*) ;;
"GNU Make 4."[23][!0-9]*)
	exec {reads}<>{fifo} {writes}<>{fifo}
	export MAKEFLAGS="-j{jobs} --jobserver-auth={reads},{writes}" ;;
"GNU Make "*) export MAKEFLAGS="-j{jobs} {FLAG}" ;;
esac
"""


_RUN = """\
[ "$MAKEFLAGS" ] || exec "$@" -j{jobs}
token=$(dd if={fifo} bs=1 count=1 2>/dev/null)
"$@"
code=$?
printf %s "$token" > {fifo}
exit $code
"""


def with_tokens(make: Sequence[str], jobs: int) -> list[str]:
    """Return the command that runs a make of the root with tokens, or with ``jobs`` jobs if it knows none."""
    return ["sh", "-c", f"{makeflags(jobs, 8, 9)}{_RUN.format(jobs=jobs, fifo=f'{INSIDE}/{FIFO}')}", "make", *make]
