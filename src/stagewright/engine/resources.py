"""The cores and the memory that the nodes of a run may use together."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path

from stagewright.graph.node import Demand
from stagewright.lazy_dataclass import dataclass


@dataclass(frozen=True)
class Resources:
    """Limits for all nodes of a run together: cores, memory in MiB, and the number of nodes at a time.

    A node counts with the cores and the memory that its kind demands. A node that starts while cores are idle is
    granted these, too, and keeps them when further nodes start. So the running nodes together can have more cores and
    memory than the machine. This is intended: cores would otherwise be idle, and the kernel shares busy cores well.
    Memory is granted in proportion to cores. Nodes that compile are granted everything, and share it by tokens
    (engine/token_pool.py).
    """

    cores: int
    memory: int
    jobs: int | None = None

    @classmethod
    def of_machine(cls) -> Resources:
        """Return all cores that this process may use, and nine tenths of the memory that is available."""
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
        free = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("MemAvailable"))
        return cls(len(os.sched_getaffinity(0)), free * 9 // 10 // 1024)

    def at_once(self, demands: Sequence[Demand]) -> int:
        """Return how many nodes with the median of some demands fit; 0 without demands."""
        if not demands:
            return 0
        cores = self.cores // statistics.median_low(max(1, one.cores) for one in demands)
        memory = self.memory // statistics.median_low(max(1, one.memory) for one in demands)
        return max(1, min(cores, memory, self.jobs or cores))

    def limited(self, cores: int | None, memory: int | None, jobs: int | None = None) -> Resources:
        """Return the same with other limits where they are given."""
        return Resources(cores or self.cores, memory or self.memory, jobs or self.jobs)
