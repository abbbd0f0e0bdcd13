"""``catalyst -p``, ``-P`` and ``-T``: removing the rests of earlier builds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stagewright.catalyst.catalyst_conf import CatalystConfig
from stagewright.catalyst.release import Member
from stagewright.catalyst.release_graph import identity_of, package_cache
from stagewright.catalyst.spec import Spec
from stagewright.store.store import Store
from stagewright.trees import remove_tree
from stagewright.ui.catalyst import CatalystLog


def purge(spec: Spec, config: CatalystConfig, store: Store, log: CatalystLog, *, packages: bool) -> None:
    """Remove what earlier builds of a spec left, except results; with ``packages`` also its binary packages.

    Stagewright's own unfinished work is in the store. ``tmp`` of the storedir can have chroots and autoresume files
    of Catalyst itself.
    """
    storedir = Path(config.storedir).absolute()
    for name in _folders(Member(spec), config, packages=packages):
        folder = (storedir / name).resolve()
        if not folder.is_dir():
            continue
        if storedir.resolve() not in folder.parents:
            log.warning(f"{folder} is not below {storedir}, so it is not removed")
            continue
        log.notice(f"Removing {folder}")
        remove_tree(folder)
    swept = store.sweep(log.warning)
    log.notice(f"removed {len(swept)} interrupted builds" if swept else "no interrupted builds are left")


def _folders(member: Member, config: CatalystConfig, *, packages: bool) -> Iterator[str]:
    """Yield the folders to remove, relative to the storedir or as an absolute path of the spec."""
    identity = identity_of(member, config)
    if identity:
        rel_type, _, name = identity.rpartition("/")
        yield f"tmp/{identity}"
        yield f"tmp/{rel_type}/.autoresume-{name}"
    if packages and identity and (cache := package_cache(member, config)):
        yield cache
