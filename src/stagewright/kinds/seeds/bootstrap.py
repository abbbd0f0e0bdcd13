"""bootstrap: a Debian root as stage 0, from the machine's own package sources, with Portage from PyPI (R8).

Written as ``bootstrap = "debian"`` in a seed. The first build looks up every package and pins it in the lock; later
builds look for nothing newer until ``stagewright update`` is asked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from stagewright.arch import Arch, host_machine
from stagewright.graph.node import Node
from stagewright.kinds.common.base import Built, Scope, Seed, Work
from stagewright.kinds.common.tools import SANDBOX, Tool, emulator
from stagewright.project.lock import Pin
from stagewright.seeds.apt import codename
from stagewright.seeds.debian import DebianRequest, bootstrap, resolve

DebianPackage = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]


class Bootstrap(Seed, kind="bootstrap"):
    """A seed with ``bootstrap``."""

    required_tools = (
        SANDBOX,
        Tool("mmdebstrap", "mmdebstrap", "dev-util/mmdebstrap"),
        Tool("apt-get", "apt", "sys-apps/apt"),
    )
    wants_memory = 1024
    moves = True

    bootstrap: Literal["debian"]
    """The system to bootstrap."""
    suite: str | None = None
    """Its release, such as `bookworm`; default: that of this machine."""
    packages: list[DebianPackage]
    """Packages to install besides the essential ones."""
    portage: Annotated[str, Field(pattern=r"^(\d+(\.\d+)*)?$")] = "3.0.83"
    """The version of Portage to install; an empty one leaves it out."""

    def node(self, node_id: str, scope: Scope, **context: Any) -> Node:
        """The node; what the lock pins is part of its key, and so is the emulator of a foreign root."""
        pin = scope.project.lock.seeds.get(node_id.removeprefix("seed:"))
        pinned = {key: value for key, value in pin.items() if key not in ("request", "resolved")} if pin else None
        node = super().node(node_id, scope, pin=pinned, **context)
        machine = self._arch(pinned).port.machine
        return replace(node, tools=(emulator(machine).program,)) if machine.is_foreign else node

    def pin(self, work: Work) -> Pin:
        """Ask the package sources what the packages are."""
        work.phase("look up packages")
        return resolve(self._request(None), work.folder, work.store.cache("pypi"), work.log)

    def build(self, work: Work) -> Built:
        """Bootstrap the root and adapt it for Portage."""
        pin = work.context["pin"]
        assert pin, "the engine pins before it builds"
        request = self._request(pin)
        work.emulate(request.arch.port.machine)
        work.phase(f"bootstrap {len(pin['packages'])} packages")
        tree = bootstrap(request, pin, work.folder, work.store.cache("pypi"), work.epoch, work.log)
        return Built(tree, (), {"packages": pin["packages"]})

    def _request(self, pin: Pin | None) -> DebianRequest:
        return DebianRequest(self.suite or codename(), tuple(sorted(self.packages)), self.portage, self._arch(pin))

    def _arch(self, pin: Pin | None) -> Arch:
        """A pin is of one architecture, whatever computer it is used on."""
        return Arch(self.arch or (pin or {}).get("arch") or host_machine().arch)
