"""State of one machine that no result has: ids, random seeds, backups, logs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from roots import as_root, make_root

from stagewright.graph.file_digest import tree_digest
from stagewright.root.machine_state import MachineState, remove_machine_state

pytestmark = as_root

SYSTEMD = {"usr/lib/systemd/systemd*": ""}
STAYS = {"var/log/apache2/access.log": "", "etc/passwd": "root:x:0:0::/root:/bin/sh\n", "root/.bashrc": "true\n"}
STAYS |= {"var/cache/edb/counter": "7"}


def used_files() -> dict[str, str]:
    """Files that packages make when they are merged, with another content each time."""
    names = {
        *("etc/machine-id", "var/lib/dbus/machine-id", "var/lib/systemd/random-seed", "var/lib/seedrng/seed.credit"),
        *("etc/passwd-", "etc/gshadow-", "etc/subuid-", "var/log/emerge.log", "var/log/portage/elog/summary.log"),
        *("var/log/installkernel.log", "var/lib/misc/installkernel", "var/cache/ldconfig/aux-cache"),
        *("root/.gnupg/random_seed", "root/.bash_history"),
        *("var/cache/edb/mtimedb", "var/cache/edb/vdb_blockers.pickle"),
    }
    return {name: os.urandom(8).hex() + "\n" for name in names}


def files_of(root: Path, since: Mapping[str, object]) -> set[str]:
    return {name for name in since if os.path.lexists(root / name)}


@pytest.mark.parametrize(
    ("init", "empty_id", "expected"), [(SYSTEMD, True, ""), (SYSTEMD, False, None), ({}, True, None)]
)
def test_a_system_ships_without_the_state_of_one_machine(
    tmp_path: Path, init: dict[str, str], empty_id: bool, expected: str | None
) -> None:
    """An empty machine-id is for systemd: dbus of an OpenRC system fails with one."""
    used = used_files()
    make_root(tmp_path, {**init, **STAYS, **used})
    remove_machine_state(tmp_path, tmp_path, empty_id=empty_id)
    left = files_of(tmp_path, used) - {"etc/machine-id"}
    assert left == set()
    assert files_of(tmp_path, STAYS) == set(STAYS)
    found = tmp_path / "etc/machine-id"
    assert (found.read_text(encoding="utf-8") if found.exists() else None) == expected


def test_two_builds_of_a_root_with_systemd_are_equal(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_root(tmp_path / name, {**SYSTEMD, **used_files()})
        remove_machine_state(tmp_path / name, tmp_path / name, empty_id=True)
    assert tree_digest(tmp_path / "one") == tree_digest(tmp_path / "two")


def test_groups_can_be_kept_by_name(tmp_path: Path) -> None:
    used = used_files()
    make_root(tmp_path, {**SYSTEMD, **used})
    remove_machine_state(tmp_path, tmp_path, keep=list(MachineState), empty_id=True)
    assert files_of(tmp_path, used) == set(used)


def test_files_of_an_overlay_stay(tmp_path: Path) -> None:
    used = used_files()
    root, overlay = tmp_path / "root", tmp_path / "overlay"
    make_root(root, {**SYSTEMD, **used})
    (overlay / "root/.gnupg").mkdir(parents=True)
    (overlay / "etc").mkdir()
    (overlay / "etc/machine-id").write_text("of the project\n", encoding="utf-8")
    remove_machine_state(root, root, overlays=[overlay], empty_id=True)
    kept = {"etc/machine-id", "root/.gnupg/random_seed"}
    assert files_of(root, used) == kept
    assert (root / "etc/machine-id").read_text(encoding="utf-8") == used["etc/machine-id"]


@pytest.mark.parametrize("link", [None, "../run/systemd/resolve/stub-resolv.conf", "../var/lib/dhcp/resolv.conf"])
def test_an_empty_resolv_conf_is_removed_and_a_link_stays(tmp_path: Path, link: str | None) -> None:
    """The sandbox makes an empty file where it mounts its resolv.conf."""
    links = {"etc/resolv.conf": link, "var/lib/dbus/machine-id": "/etc/machine-id"} if link else {}
    root = make_root(tmp_path, {"var/lib/dhcp/resolv.conf" if link else "etc/resolv.conf": ""}, links=links)
    remove_machine_state(root.path, root.path, empty_id=True)
    assert os.path.lexists(tmp_path / "etc/resolv.conf") is bool(link)
    assert os.path.lexists(tmp_path / "var/lib/dbus/machine-id") is bool(link)
    assert (tmp_path / "var/lib/dhcp/resolv.conf").exists() is (link == "../run/systemd/resolve/stub-resolv.conf")


def test_a_resolv_conf_with_content_stays(tmp_path: Path) -> None:
    root = make_root(tmp_path, {"etc/resolv.conf": "nameserver 192.0.2.1\n"})
    remove_machine_state(root.path, root.path, empty_id=True)
    assert (tmp_path / "etc/resolv.conf").exists()


def test_state_of_earlier_layers_is_removed_but_not_their_settings(tmp_path: Path) -> None:
    used = used_files()
    root = make_root(tmp_path / "root", {**SYSTEMD, **used})
    upper = tmp_path / "upper"
    upper.mkdir()
    remove_machine_state(root.path, upper, empty_id=True)
    assert files_of(root.path, used) == {"etc/machine-id", "root/.gnupg/random_seed", "root/.bash_history"}
