"""Limits of a node: the time that it may take, and what its processes may use together.

A limit is given on the command line, in a stage, seed or test, or in ``[limits]`` of the project; the first of these
counts. Otherwise it has a default. Limits change no result, so they are not part of keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.project.fields import Matching, Section
from stagewright.units import duration_hint, parse_duration, parse_size, size_hint

TIMEOUT = "3d"
"""Default of ``timeout``: long enough for a desktop that an emulator compiles, short enough to end a hang."""

PROCESSES = 16384
"""Default of ``processes``: many for a compilation with 100 jobs, few for a kernel (its ``pid_max`` is 32768)."""

Duration = Annotated[
    str, Matching(r"[1-9][0-9]{0,6}[smhd]", "a number with s, m, h or d, like 90m or 12h", duration_hint)
]
"""A time in seconds, minutes, hours or days."""

Amount = Annotated[str, Matching(r"[1-9][0-9]{0,6}[MGT]", "a number with M, G or T, like 512M or 16G", size_hint)]
"""A number of bytes in MiB, GiB or TiB."""


class NodeLimits(Section):
    """Limits of a node, as far as they are given."""

    timeout: Duration | None = None
    """The longest time for one node, such as `90m`, `12h` or `2d`; default: 3d."""
    memory: Amount | None = None
    """The memory of all its processes together, such as `16G`; default: nine tenths of this computer's memory."""
    processes: Annotated[int, Field(ge=16, le=4_000_000)] | None = None
    """The number of its processes and threads at the same time; default: 16384."""
    disk: Amount | None = None
    """Disk space for its files while it is built, such as `50G`; default: all but a reserve of at most 512 MiB."""

    def resolved(self, *others: NodeLimits) -> Limits:
        """Return the limits that apply: those of this model, or else of the others in turn, or else the defaults."""

        def first(name: str) -> str | None:
            return next((str(value) for one in (self, *others) if (value := getattr(one, name)) is not None), None)

        memory, disk, processes = first("memory"), first("disk"), first("processes")
        return Limits(
            timeout=first("timeout") or TIMEOUT,
            memory=parse_size(memory) if memory else None,
            processes=int(processes or PROCESSES),
            disk=parse_size(disk) if disk else None,
        )


@dataclass(frozen=True)
class Limits:
    """The limits of one job. ``memory`` and ``disk`` are in bytes; None stands for a default that is not a number."""

    timeout: str = TIMEOUT
    memory: int | None = None
    processes: int = PROCESSES
    disk: int | None = None

    @property
    def seconds(self) -> int:
        """The time limit in seconds."""
        return int(parse_duration(self.timeout))


def parse_limits(words: Sequence[str]) -> NodeLimits:
    """Return the limits of words like ``timeout=12h``. Raises: USAGE for an unknown name or an invalid value."""
    given: dict[str, str | int] = {}
    for word in words:
        name, _, value = word.partition("=")
        given[name] = int(value) if name == "processes" and value.isascii() and value.isdigit() else value
    try:
        return NodeLimits.model_validate(given)
    except ValueError as error:
        hint = "write timeout=12h, memory=16G, processes=5000 or disk=50G"
        raise StagewrightError(Reason.USAGE, f"--limit: invalid limit (found {' '.join(words)})", hint=hint) from error


def shown(size: int) -> str:
    """Return a number of bytes for people."""
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size >> 20} MiB"
