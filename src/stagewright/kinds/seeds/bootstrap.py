"""bootstrap: a Debian root as stage 0, from the package sources of this computer, with Portage from PyPI.

A seed selects it with ``bootstrap = "debian"``. The first build looks up every package and pins it in the lock. Later
builds use these packages until ``stagewright update`` looks them up again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from stagewright.arch import Arch, host_machine
from stagewright.graph.node import Demand, Node
from stagewright.kinds.common.archived import PinnedSeed, SeedPin, Sha256, pin_of
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import SeedContext
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.tools import FETCH_NETWORK, SANDBOX, Tool, emulator
from stagewright.kinds.common.work import Built, Work
from stagewright.project.fields import Matching
from stagewright.project.lock import Pin

if TYPE_CHECKING:
    from stagewright.seeds.debian import Caches
    from stagewright.seeds.mmdebstrap import DebianRequest

DebianPackage = Annotated[str, Matching(r"[a-z0-9][a-z0-9+.-]+", "the name of a Debian package, in lower case")]
FOR_PORTAGE = "bzip2 file gcc libc6-dev make mount patch pax-utils python3 xz-utils zstd"
"""Programs that Portage calls, and a compiler."""

PathPattern = Annotated[str, Matching(r"/[^\s\"'\\]+", "an absolute path, in which * matches any characters")]


class BootstrapPin(SeedPin):
    """The pin: release, architecture, packages as NAME=VERSION, and digests of the files of Portage and Meson."""

    suite: str | None = None
    arch: str | None = None
    portage: Sha256 | None = None
    meson: Sha256 | None = None
    packages: list[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.:-]*=[^=\s]+$")]]


class BootstrapSeed(PinnedSeed, kind="bootstrap"):
    """A seed with ``bootstrap``."""

    required_tools = (
        SANDBOX,
        FETCH_NETWORK,
        Tool("mmdebstrap", "mmdebstrap", "dev-util/mmdebstrap"),
        Tool("apt-get", "apt", "sys-apps/apt"),
    )
    demand = Demand(memory=1024)
    pin_model = BootstrapPin
    build_modules = ("stagewright.kinds.common.records", "stagewright.seeds.debian")

    bootstrap: Literal["debian"]
    """The distribution to bootstrap."""
    suite: str | None = None
    """The release, such as `bookworm`; default: that of this computer. If apt has no sources for this release, the
    sources of this computer's release are used, with the name of the release replaced."""
    packages: list[DebianPackage] = FOR_PORTAGE.split()
    """Packages to install in addition to apt and the packages that Debian marks as essential; default: what Portage
    needs to compile most ebuilds."""
    exclude: list[PathPattern] = []
    """Files of packages to leave out, such as `/lib/modules/*/kernel/sound/*`: patterns of dpkg's option
    `--path-exclude`, where `*` also matches `/`. They are not unpacked."""
    portage: Annotated[str, Matching(r"(\d+(\.\d+)*)?", "a version such as 3.0.83, or an empty text")] = "3.0.83"
    """The version of Portage to install. If it is empty, Portage is not installed."""

    def node(self, node_id: str, scope: Scope) -> Node:
        """Return the node. If this computer needs an emulator for the root, the node has it as a tool."""
        node = super().node(node_id, scope)
        assert isinstance(node.context, SeedContext)
        machine = self._arch(node.context.pin or {}).port.machine
        return replace(node, tools=(emulator(machine).program,)) if machine.is_foreign else node

    def pin(self, work: Work[SeedContext]) -> Pin:
        """Look up the versions of all packages in the package sources of this computer."""
        from stagewright.seeds.debian import resolve_packages

        phase = "look up packages"
        work.phase(phase)
        return resolve_packages(self._request({}, work), work.folder, _caches(work, phase), work.log)

    def build(self, work: Work[SeedContext]) -> Built:
        """Bootstrap the root and adapt it for Portage."""
        from stagewright.kinds.common.records import Records
        from stagewright.seeds.debian import bootstrap

        pin = pin_of(work, BootstrapPin)
        request = self._request({"arch": pin.arch}, work)
        work.emulate(request.arch.port.machine)
        phase = f"bootstrap {len(pin.packages)} packages"
        work.phase(phase)
        pinned = pin.model_dump(exclude_none=True)
        tree, areas = bootstrap(request, pinned, work.folder, _caches(work, phase), work.epoch, work.log)
        records = Records(areas=areas).write(work.folder)
        facts = LayerFacts(package_count=len(pin.packages), records=records.digest if records else None)
        return Built(tree, facts, records=records.path if records else None)

    def _request(self, pin: Mapping[str, Any], work: Work[SeedContext]) -> DebianRequest:
        from stagewright.root.network import Service
        from stagewright.seeds.apt import codename
        from stagewright.seeds.mmdebstrap import DebianRequest

        suite, services = self.suite or codename(), tuple(map(Service.of, work.context.services))
        arch, packages = self._arch(pin), tuple(sorted(self.packages))
        return DebianRequest(suite, packages, self.portage, arch, services, tuple(self.exclude))

    def _arch(self, pin: Mapping[str, Any]) -> Arch:
        """Return the architecture of the root. By its pin, it is the same on every computer."""
        return self.known_arch(pin) or host_machine().arch


def _caches(work: Work[SeedContext], phase: str) -> Caches:
    from stagewright.seeds.debian import Caches

    waiting = work.waiter("the download of another seed", phase)
    return Caches(work.store.cache("pypi"), work.store.cache("debian"), waiting)
