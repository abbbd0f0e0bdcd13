"""The hit rates of a plan: how many packages of its stages binary package hosts have (portage/hit_rate.py)."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from stagewright.engine.plan import Plan
from stagewright.fetch.download import download
from stagewright.kinds.common.packages import PackageStage
from stagewright.portage.hit_rate import HitRate, hit_rate
from stagewright.portage.index import entries_of
from stagewright.temporary import temporary_folder

_LARGEST_INDEX = 256 << 20
"""The largest index of a host (bytes)."""


def hit_rates(plan: Plan) -> Mapping[str, HitRate]:
    """Return the hit rates of the nodes that a plan builds and that have hosts, by node id.

    The indexes are downloaded, and not verified: Portage verifies packages. Raises the errors of :func:`download`.
    """
    with temporary_folder("indexes") as folder:

        @functools.cache
        def entries(uri: str) -> list[dict[str, str]]:
            file = folder / f"{len(list(folder.iterdir()))}.index"
            download([f"{uri.rstrip('/')}/Packages"], file, limit=_LARGEST_INDEX)
            return entries_of(file.read_text(encoding="utf-8", errors="replace"))

        return {
            step.node.id: hit_rate(stage.named_packages(plan.project), stage.atom_check(plan.project), found)
            for step in plan.to_build
            if isinstance(stage := step.node.settings, PackageStage)
            and (hosts := stage.hosts_of(plan.project))
            and (found := [entry for host in hosts.values() for entry in entries(host.uri)])
        }
