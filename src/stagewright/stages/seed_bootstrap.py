"""bootstrap: a Debian root as stage 0, from the machine's own package sources, with Portage from PyPI (R8).

Written as ``bootstrap = "debian"`` in a seed. The first build looks up every package and pins it in the lock; later
builds look for nothing newer until ``stagewright update`` is asked.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from stagewright.graph.node import Node
from stagewright.project.lock import Pin
from stagewright.root.root import Root
from stagewright.seeds.apt import codename
from stagewright.seeds.debian import Request, bootstrap, resolve
from stagewright.stages.base import Built, Scope, Stage, Work
from stagewright.stages.tools import SANDBOX, Tool

DebianPackage = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]


class Bootstrap(Stage, kind="bootstrap", table="seeds"):
    """A seed with ``bootstrap``."""

    needs = (SANDBOX, Tool("mmdebstrap", "mmdebstrap", "dev-util/mmdebstrap"), Tool("apt-get", "apt", "sys-apps/apt"))
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

    def node_name(self, name: str) -> str:
        """Seeds carry their table in their node's name."""
        return f"seed:{name}"

    def node(self, node_id: str, scope: Scope, **context: Any) -> Node:
        """The node; what the lock pins is part of its key."""
        pin = scope.project.lock.seeds.get(node_id.removeprefix("seed:"))
        pinned = {key: value for key, value in pin.items() if key not in ("request", "resolved")} if pin else None
        return super().node(node_id, scope, pin=pinned, **context)

    def pin(self, work: Work) -> Pin:
        """Ask the package sources what the packages are."""
        work.phase("look up packages")
        return resolve(self._request(), work.folder, work.store.cache("pypi"), work.log)

    def build(self, work: Work) -> Built:
        """Bootstrap the root and adapt it for Portage."""
        pin = work.context["pin"]
        assert pin, "the engine pins before it builds"
        work.phase(f"bootstrap {len(pin['packages'])} packages")
        tree = bootstrap(self._request(), pin, work.folder, work.store.cache("pypi"), work.epoch, work.log)
        return Built(tree, (), {"packages": pin["packages"]})

    def open(self, work: Work) -> Root:
        """The seed with a layer that is thrown away."""
        return Root.mount(work.folder, [work.folder / "tree"], log=work.log)

    def _request(self) -> Request:
        return Request(self.suite or codename(), tuple(sorted(self.packages)), self.portage)
