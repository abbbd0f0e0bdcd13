"""Choosing a machine of a farm for a node, from what machines have and from what runs on them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from stagewright.engine.farm.machines import Machine
from stagewright.engine.farm.needs import FarmDemand, lacks
from stagewright.kinds.common.work import Grant


@dataclass
class Site:
    """A machine with its address, and the demands of the nodes that it builds now.

    ``load`` are the cores and the memory (MiB) of what it builds, by task, as it reported them last; ``others`` are
    those of nodes of other users. ``open`` is False while it takes no more nodes. ``instance`` names the process of
    its worker: another one at the same address has another name.
    """

    address: str
    machine: Machine
    instance: str = ""
    open: bool = True
    others: tuple[int, int] = (0, 0)
    running: dict[str, FarmDemand] = field(default_factory=dict)
    load: dict[str, tuple[int, int]] = field(default_factory=dict)

    def has_room(self, demand: FarmDemand) -> bool:
        """Return True if a node with this demand can start now; a machine without nodes always has room."""
        if not self.open:
            return False
        if not self.running and self.others == (0, 0):
            return True
        cores, memory = self.free()
        return (
            min(demand.cores, self.machine.cores) <= cores
            and demand.memory <= memory
            and demand.exclusive not in {one.exclusive for one in self.running.values()} - {""}
        )

    def free(self) -> tuple[int, int]:
        """Return the cores and the memory (MiB) that no node takes."""
        cores = sum(min(one.cores, self.machine.cores) for one in self.running.values()) + self.others[0]
        memory = sum(one.memory for one in self.running.values()) + self.others[1]
        return self.machine.cores - cores, self.machine.memory - memory

    def grant(self, demand: FarmDemand, ready: int) -> Grant:
        """Return the part of the machine for a node that starts. ``ready`` nodes wait for a place.

        A node that compiles gets the whole machine if it is alone there and none waits; else it shares.
        """
        cores, _ = self.free()
        spare = cores if demand.compiles or not ready else 0
        granted = max(1, min(demand.cores, self.machine.cores), spare)
        memory = max(min(demand.memory, self.machine.memory), self.machine.memory * granted // self.machine.cores)
        return Grant(granted, memory)


def choose(
    sites: Iterable[Site], demand: FarmDemand, arch: str, keys: Mapping[str, Collection[str]], avoid: Collection[str]
) -> Site | None:
    """Return the best site with room: native before emulated, one with the inputs, then that with most free cores.

    ``keys`` are the inputs of the node that each address has. Machines in ``avoid`` are taken only if no other can.
    """
    able = [site for site in sites if site.has_room(demand) and not lacks(site.machine, demand)]
    return max(
        able,
        key=lambda site: (
            site.address not in avoid,
            site.machine.is_native(arch),
            len(keys.get(site.address, ())),
            site.free()[0],
            site.address,
        ),
        default=None,
    )
