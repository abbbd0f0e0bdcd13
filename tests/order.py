"""Which tests run one after the other in one process, and which groups of them begin first.

Each group has its own builds to look at, so it stays in one process. The groups that take long begin first; the many
short ones at the end let both processes end at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from xdist.scheduler.loadscope import LoadScopeScheduling

GROUPS: dict[str, Sequence[str]] = {
    "line": ("test_stages", "kinds/test_stage1", "kinds/test_stage2", "kinds/test_stage3"),
    "netboot": ("kinds/test_pxeboot", "kinds/test_netboots"),
    "release": ("test_catalyst_release",),
    "foreign": ("test_foreign",),
    "media": ("kinds/test_livecd_stage3", "kinds/test_boots"),
    "kills": ("test_kills",),
    "binhost": ("kinds/test_binhost",),
    "updates": ("kinds/test_update_feed", "kinds/test_disk_repart", "kinds/test_updates"),
    "disk": ("kinds/test_diskimage_stage1", "kinds/test_diskimage_stage2", "kinds/test_installer_machine"),
    "demo": ("test_demo",),
    "full": ("test_disk_full",),
    "reproducible": ("test_reproducible",),
}
"""Groups of more than one file, and groups that take minutes, in the order in which they begin.

The first two fill different stores, so that neither process waits for the other.
"""

_GROUP_OF = {f"tests/integration/{name}.py": group for group, names in GROUPS.items() for name in names}
_RANKS = {group: rank for rank, group in enumerate(GROUPS)}


def group_of(path: str) -> str:
    """Return the group of a file, which is given by its path in the repository."""
    return _GROUP_OF.get(path, path)


def rank_of(path: str) -> tuple[int, str]:
    """Return the place of a file in the order: long groups, other integration tests, boots, unit tests."""
    group = group_of(path)
    folders = ("browser", "gentoo", "install", "integration", "boot", "fuzz", "unit")
    rank = _RANKS.get(group, len(_RANKS) + folders.index(PurePath(path).parts[1]))
    return rank, group


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """A scheduler of pytest-xdist that hands out whole groups."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0])
