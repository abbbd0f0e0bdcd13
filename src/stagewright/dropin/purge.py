"""What ``catalyst -p``, ``-P`` and ``-T`` remove."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stagewright.catalyst.catalyst_conf import CatalystConfig
from stagewright.catalyst.release import Member
from stagewright.catalyst.release_graph import identity_of, package_cache
from stagewright.catalyst.spec import Spec
from stagewright.store.store import Store, remove_tree
from stagewright.ui.catalyst import CatalystLog


def purge(spec: Spec, config: CatalystConfig, store: Store, log: CatalystLog, *, packages: bool) -> None:
    """Remove what earlier builds of a spec left besides results.

    There are no chroots and no autoresume files: half-done work lies in the store, and is swept there. ``tmp`` of the
    storedir may hold those of Catalyst itself.
    """
    storedir = Path(config.storedir).absolute()
    for name in _folders(Member(spec), config, packages=packages):
        folder = (storedir / name).resolve()
        if not folder.is_dir():
            continue
        if storedir.resolve() not in folder.parents:
            log.warning(f"{folder} is not below {storedir}, and stays")
            continue
        log.notice(f"Removing {folder}")
        remove_tree(folder)
    swept = store.sweep()
    log.notice(f"swept {len(swept)} interrupted builds" if swept else "no half-done work is left")


def _folders(member: Member, config: CatalystConfig, *, packages: bool) -> Iterator[str]:
    """What to remove, below the storedir unless the spec has a whole path."""
    identity = identity_of(member, config)
    if identity:
        rel_type, _, name = identity.rpartition("/")
        yield f"tmp/{identity}"
        yield f"tmp/{rel_type}/.autoresume-{name}"
    if packages and identity and (cache := package_cache(member, config)):
        yield cache
