"""Descriptions of the machines of a farm: announced by workers, and read by the runs that build on the farm."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stagewright import __version__
from stagewright.arch import MACHINES, host_machine
from stagewright.engine.doctor import TUNNEL
from stagewright.engine.resources import Resources
from stagewright.errors import StagewrightError
from stagewright.graph.code_digest import code_digest
from stagewright.kinds.registry import by_kind, module_of, tool_of
from stagewright.root.emulation import find_emulator
from stagewright.run import PATH
from stagewright.store.digest_cache import DigestCache, ToolVersions
from stagewright.store.store import Store
from stagewright.vm import firmware
from stagewright.vm.machine_spec import PLATFORMS

KVM = "/dev/kvm"

MANY = 1_000_000.0
"""The amount of a resource that any number of nodes can share, such as an architecture."""


@dataclass(frozen=True)
class Machine:
    """A machine: ``cores``, ``memory`` (MiB) and ``disk`` (free bytes of its store), and what it can do.

    ``arch`` is its architecture, ``also`` are others that its processor runs, ``emulated`` those that QEMU runs.
    ``features`` are ``kvm``, ``tap`` and ``secure-boot``. ``programs`` are the versions of the installed programs that
    kinds use. ``code`` are the digests of the code of kinds. ``exclusive`` are words of which a machine builds one node
    at a time.
    """

    name: str
    arch: str
    cores: int
    memory: int
    disk: int = 0
    also: tuple[str, ...] = ()
    emulated: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    programs: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    exclusive: tuple[str, ...] = ()
    version: str = __version__

    def to_dict(self) -> dict[str, Any]:
        """Return the machine as JSON-able data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Machine:
        """Return the machine of :meth:`to_dict`. Raises TypeError for other data."""
        names = {one.name for one in dataclasses.fields(cls)}
        values = {name: value for name, value in data.items() if name in names}
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists})

    def runs(self, arch: str) -> bool:
        """Return True if it runs programs for an architecture, by itself or by an emulator."""
        return self.is_native(arch) or arch in self.emulated

    def is_native(self, arch: str) -> bool:
        """Return True if its processor runs programs for an architecture."""
        return arch == self.arch or arch in self.also

    def resources(self) -> dict[str, float]:
        """Return what it announces to Dask (``Worker(resources=)``): amounts by name."""
        shared = [f"arch-{arch}" for arch in (self.arch, *self.also, *self.emulated)] + list(self.features)
        return {
            "cores": float(self.cores),
            "memory": float(self.memory),
            **dict.fromkeys(shared, MANY),
            **{f"exclusive-{word}": 1.0 for word in self.exclusive},
        }


def this_machine(name: str, store: Store, resources: Resources) -> Machine:
    """Return what this computer announces, with the cores and the memory that nodes may use together."""
    kinds = by_kind()
    tools = {tool.program for kind in kinds.values() for tool in (*kind.required_tools, *kind.optional_tools)}
    tools |= {tool for kind in kinds.values() for tool in kind.key_tools}
    asked = ToolVersions(store.memory("tools.json"), lambda tool: tool_of(tool).remedy)
    there = sorted(program for program in tools if shutil.which(program, path=PATH))
    with DigestCache(store.memory("digests.db")) as digest:
        code = {kind: code_digest(module_of(kind), digest.recall) for kind in sorted(kinds)}
    host = host_machine().arch
    own = {one.arch.value for one in MACHINES if not one.is_foreign}
    emulated = {one.arch.value for one in MACHINES if one.is_foreign and find_emulator(one)}
    return Machine(
        name=name,
        arch=host.value,
        cores=resources.cores,
        memory=resources.memory,
        disk=shutil.disk_usage(store.path).free,
        also=tuple(sorted(own - {host.value})),
        emulated=tuple(sorted(emulated - own)),
        features=tuple(_features()),
        programs={program: asked(program) for program in there},
        code=code,
        exclusive=tuple(sorted({kind.demand.exclusive for kind in kinds.values()} - {""})),
    )


def _features() -> list[str]:
    found = ["kvm"] if os.access(KVM, os.R_OK | os.W_OK) else []
    found += ["tap"] if _opens(TUNNEL) else []
    return found + (["secure-boot"] if any(_secure(name) for name in PLATFORMS) else [])


def _opens(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _secure(architecture: str) -> bool:
    """Return True if there is firmware that enforces Secure Boot for virtual machines of an architecture."""
    platform = PLATFORMS[architecture]
    if not shutil.which(platform.qemu, path=PATH):
        return False
    try:
        machine = firmware.machine_type(platform.machine, platform.qemu)
        found = firmware.find(machine, architecture=architecture, want=("secure-boot", "enrolled-keys"))
    except StagewrightError:
        return False
    return Path(found.code).exists()
