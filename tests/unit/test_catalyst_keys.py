"""The table of keys, and the sub-architectures."""

from __future__ import annotations

from collections import Counter

import pytest

from stagewright.catalyst.spec_keys import KEYS, PLACEHOLDERS, Target, ValueType
from stagewright.catalyst.subarches import subarches

COUNTS = {
    "alpha": 8,
    "amd64": 8,
    "arm": 16,
    "arm64": 3,
    "hppa": 2,
    "ia64": 1,
    "loong": 1,
    "m68k": 3,
    "mips": 31,
    "mips64": 43,
    "ppc": 5,
    "ppc64": 14,
    "riscv": 10,
    "s390": 1,
    "s390x": 1,
    "sh": 12,
    "sparc": 1,
    "sparc64": 1,
    "x86": 14,
}
"""Number of Catalyst 4.1's sub-architectures by architecture."""


def test_the_table_of_keys_is_consistent() -> None:
    names = [key.name for key in KEYS]
    assert len(names) == len(set(names))
    for key in KEYS:
        assert key.targets, key.name
        assert key.required <= key.targets, key.name
        assert key.effective <= key.targets, key.name
        assert key.meaning, key.name
        part = [part for part in PLACEHOLDERS if part in key.name]
        assert len(part) == ("<" in key.name), key.name


COMMON = {"profile", "rel_type", "snapshot_treeish", "source_subpath", "subarch", "target", "version_stamp"}
REQUIRED = {
    Target.SNAPSHOT: {"target", "snapshot_treeish"},
    Target.STAGE1: COMMON,
    Target.STAGE2: COMMON,
    Target.STAGE3: COMMON,
    Target.STAGE4: {*COMMON, "stage4/packages"},
    Target.EMBEDDED: COMMON,
    Target.LIVECD1: {*COMMON, "livecd/packages"},
    Target.LIVECD2: {*COMMON, "boot/kernel"},
    Target.LIVECD3: (COMMON - {"profile"}) | {"boot/kernel", "livecd/cdtar"},
    Target.NETBOOT: {*COMMON, "boot/kernel"},
    Target.DISKIMAGE1: {*COMMON, "diskimage/packages"},
    Target.DISKIMAGE2: {*COMMON, "boot/kernel"},
}


@pytest.mark.parametrize("target", Target)
def test_each_target_has_its_required_keys(target: Target) -> None:
    assert {name for name, key in target.keys.items() if target in key.required} == REQUIRED[target]


KNOWN = [
    ("stage4", "stage4/ssh_public_keys", ValueType.LIST),
    ("livecd-stage2", "livecd/iso_extra_partition", ValueType.WORD),
    ("livecd-stage2", "livecd/cdtar", ValueType.PATH),
    ("diskimage-stage2", "diskimage/qcow2", ValueType.OUTPUT),
    ("netboot", "netboot/packages/<package>/files", ValueType.LIST),
    ("embedded", "embedded/unmerge", ValueType.LIST),
    ("stage3", "cflags", ValueType.TEXT),
]


@pytest.mark.parametrize(("target", "name", "value_type"), KNOWN)
def test_keys_have_their_types(target: str, name: str, value_type: ValueType) -> None:
    assert Target(target).keys[name].value_type is value_type


REFUSED = [
    ("stage3", "chost"),
    ("stage3", "update_seed"),
    ("stage2", "update_seed"),
    ("stage4", "stage4/motd"),
    ("stage4", "stage4/modblacklist"),
    ("livecd-stage1", "livecd/iso"),
    ("livecd-stage2", "livecd/packages"),
    ("diskimage-stage2", "diskimage/root_overlay"),
    ("netboot", "netboot/fsscript"),
    ("stage3", "boot/kernel"),
    ("snapshot", "version_stamp"),
]


@pytest.mark.parametrize(("target", "name"), REFUSED)
def test_keys_that_catalyst_rejects_are_unknown(target: str, name: str) -> None:
    assert name not in Target(target).keys


def test_all_subarches_are_known() -> None:
    assert Counter(item.arch for item in subarches().values()) == COUNTS
    assert len(subarches()) == 175


def test_a_subarch_has_chost_flags_and_personality() -> None:
    power = subarches()["power9le"]
    assert (power.arch, power.chost) == ("ppc64", "powerpc64le-unknown-linux-gnu")
    assert power.flags == "-O2 -pipe -mcpu=power9 -mtune=power9"
    assert power.personality is None
    assert subarches()["amd64"].chost == ""
    i686 = subarches()["i686"].personality
    assert i686
    assert (i686.name, i686.on) == ("linux32", "x86_64")
