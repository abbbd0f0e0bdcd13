"""Official release specs, if available: 25 specs that together use every key and quirk of all official ones.

This repository does not contain them. ``STAGEWRIGHT_CATALYST_SPECS`` names their folder. The default is
``shared/catalyst-specs`` next to the checkout.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stagewright.catalyst.estimate import estimate
from stagewright.catalyst.load_release import load
from stagewright.catalyst.release import Release
from stagewright.catalyst.release_graph import ReleaseGraph, SpecResult
from stagewright.catalyst.spec import parse, read_spec, write
from stagewright.cli.main import run
from stagewright.errors import Exit

BESIDE = Path(__file__).parents[3] / "shared" / "catalyst-specs"
CORPUS = Path(os.environ.get("STAGEWRIGHT_CATALYST_SPECS") or BESIDE)
SPECS = sorted(CORPUS.rglob("*.spec"))

pytestmark = pytest.mark.skipif(
    not SPECS, reason=f"NOT TESTED: no specs in {CORPUS}; name their folder by STAGEWRIGHT_CATALYST_SPECS"
)

T = "@TIMESTAMP@"
D = "23.0-default"
EXPECTED = {
    "specs-qemu/alpha/installcd-stage2-minimal": (
        f"{D}/livecd-stage2-alpha-{T}",
        f"{D}/livecd-stage1-alpha-{T}",
        f"/var/tmp/catalyst/builds/{D}/install-alpha-minimal-{T}.iso",
    ),
    "specs-qemu/hppa/installcd-stage1": (
        f"{D}/livecd-stage1-hppa1.1-{T}",
        f"{D}/stage3-hppa1.1-openrc-{T}",
        f"{D}/livecd-stage1-hppa1.1-{T}.tar.bz2",
    ),
    "specs-qemu/hppa/netboot-hppa32": (
        f"{D}/netboot-hppa1.1-{T}",
        f"{D}/stage3-hppa1.1-openrc-{T}",
        f"{D}/netboot-hppa1.1-{T}/",
    ),
    "specs-qemu/loong/installcd-stage1": (
        f"{D}/livecd-stage1-loong-{T}",
        f"{D}/stage3-loong-openrc-{T}",
        f"{D}/livecd-stage1-loong-{T}.tar.xz",
    ),
    "specs-qemu/m68k/stage3-openrc-23": (
        f"{D}/stage3-m68k-openrc-{T}",
        f"{D}/stage1-m68k-openrc-{T}",
        f"{D}/stage3-m68k-openrc-{T}.tar.xz",
    ),
    "specs-qemu/mips/multilib/stage1-mips3-multilib-openrc-23": (
        f"{D}/stage1-mips3_multilib-openrc-{T}",
        f"{D}/stage3-mips3_multilib-openrc-latest",
        f"{D}/stage1-mips3_multilib-openrc-{T}.tar.xz",
    ),
    "specs-qemu/mips/o32/stage1-mipsel2-o32-openrc-23": (
        f"{D}/stage1-mipsel2-openrc-{T}",
        f"{D}/stage3-mipsel2-openrc-latest",
        f"{D}/stage1-mipsel2-openrc-{T}.tar.xz",
    ),
    "specs-qemu/riscv/diskimage-stage1-console": (
        f"{D}/diskimage-stage1-rv64_lp64d-console-{T}",
        f"{D}/stage3-rv64_lp64d-systemd-{T}",
        f"{D}/diskimage-stage1-rv64_lp64d-console-{T}.tar.xz",
    ),
    "specs-qemu/riscv/stage1-multilib-openrc-23": (
        f"{D}/stage1-rv64_multilib-openrc-{T}",
        f"{D}/stage3-rv64_multilib-openrc-latest",
        f"{D}/stage1-rv64_multilib-openrc-{T}.tar.xz",
    ),
    "specs-qemu/riscv/stage3-lp64-openrc-23": (
        f"{D}/stage3-rv64_lp64-openrc-{T}",
        f"{D}/stage1-rv64_lp64-openrc-{T}",
        f"{D}/stage3-rv64_lp64-openrc-{T}.tar.xz",
    ),
    "specs-qemu/sparc/sparc64/installcd-stage2-minimal-dist": (
        f"{D}/livecd-stage2-sparc64-{T}",
        f"{D}/livecd-stage1-sparc64-{T}",
        f"{D}/install-sparc64-minimal-dist-{T}.iso",
    ),
    "specs/amd64/diskimage-stage2-cloudinit": (
        f"{D}/diskimage-stage2-amd64-{T}",
        f"{D}/diskimage-stage1-amd64-cloudinit-{T}",
        f"{D}/di-amd64-cloudinit-{T}.qcow2",
    ),
    "specs/amd64/diskimage-stage2-console": (
        f"{D}/diskimage-stage2-amd64-{T}",
        f"{D}/diskimage-stage1-amd64-console-{T}",
        f"{D}/di-amd64-console-{T}.qcow2",
    ),
    "specs/amd64/livegui/livegui-stage2": (
        f"{D}/livecd-stage2-amd64-plasma-{T}",
        f"{D}/livecd-stage1-amd64-plasma-{T}",
        f"{D}/livegui-amd64-{T}.iso",
    ),
    "specs/amd64/stage1-openrc-23": (
        f"{D}/stage1-amd64-openrc-{T}",
        f"{D}/stage3-amd64-openrc-latest",
        f"{D}/stage1-amd64-openrc-{T}.tar.xz",
    ),
    "specs/amd64/stage3-openrc-23-su": (
        f"23.0-splitusr/stage3-amd64-openrc-splitusr-{T}",
        f"23.0-splitusr/stage1-amd64-openrc-splitusr-{T}",
        f"23.0-splitusr/stage3-amd64-openrc-splitusr-{T}.tar.xz",
    ),
    "specs/amd64/stage3d-openrc-23": (
        f"{D}/stage3-amd64-desktop-openrc-{T}",
        f"{D}/stage1-amd64-openrc-{T}",
        f"{D}/stage3-amd64-desktop-openrc-{T}.tar.xz",
    ),
    "specs/arm/armv4tl-t64/stage1-openrc-23": (
        f"23.0-time64/stage1-armv4tl-t64-openrc-{T}",
        "23.0-time64/stage3-armv4tl-t64-openrc-latest",
        f"23.0-time64/stage1-armv4tl-t64-openrc-{T}.tar.xz",
    ),
    "specs/arm64/stage4w-openrc-23": (
        f"{D}/stage4-arm64-wsl-openrc-{T}",
        f"{D}/stage3-arm64-desktop-openrc-{T}",
        f"{D}/stage4-arm64-wsl-openrc-{T}.wsl",
    ),
    "specs/ppc/ppc32/installcd-stage2-minimal": (
        f"{D}/livecd-stage2-ppc-{T}",
        f"{D}/livecd-stage1-ppc-{T}",
        f"/var/tmp/catalyst/builds/{D}/install-powerpc-minimal-{T}.iso",
    ),
    "specs/ppc/ppc64/stage1-musl-hardened-openrc-23": (
        f"23.0-musl-hardened/stage1-ppc64-musl-hardened-openrc-{T}",
        "23.0-musl-hardened/stage3-ppc64-musl-hardened-openrc-latest",
        f"23.0-musl-hardened/stage1-ppc64-musl-hardened-openrc-{T}.tar.xz",
    ),
    "specs/s390/s390x/netboot/netboot": (
        f"{D}/netboot-s390x-{T}",
        f"{D}/stage3-s390x-openrc-{T}",
        f"{D}/netboot-s390x-{T}/",
    ),
    "specs/sparc/sparc/stage3-openrc-23": (
        f"{D}/stage3-sparc-openrc-{T}",
        f"{D}/stage1-sparc-openrc-{T}",
        f"{D}/stage3-sparc-openrc-{T}.tar.xz",
    ),
    "specs/sparc/sparc64/installcd-stage2-minimal": (
        f"{D}/livecd-stage2-sparc64-{T}",
        f"{D}/livecd-stage1-sparc64-{T}",
        f"{D}/install-sparc64-minimal-{T}.iso",
    ),
    "specs/x86/i486/installcd-stage1-openrc": (
        f"{D}/livecd-stage1-i486-openrc-{T}",
        f"{D}/stage3-i486-openrc-{T}",
        f"{D}/livecd-stage1-i486-openrc-{T}.tar.xz",
    ),
}
"""Identity, sources and artifacts of each spec."""


@pytest.fixture(scope="module")
def corpus() -> tuple[Release, ReleaseGraph]:
    """All specs in one release."""
    return load([CORPUS], [], {})


def name_of(item: SpecResult) -> str:
    return str(item.member.spec.file.relative_to(CORPUS).with_suffix(""))


def test_official_specs_have_no_errors(corpus: tuple[Release, ReleaseGraph]) -> None:
    release, _ = corpus
    assert len(release.members) == len(SPECS) == 25
    assert release.problems == []
    assert [finding for member in release.members for finding in member.spec.findings] == []


def test_the_graph_of_official_specs_is_as_recorded(corpus: tuple[Release, ReleaseGraph]) -> None:
    found = {name_of(item): (item.identity, *item.sources.values(), *item.artifacts) for item in corpus[1].results}
    assert found == EXPECTED


def test_the_dependencies_of_official_specs_are_as_recorded(corpus: tuple[Release, ReleaseGraph]) -> None:
    names = {item.name: name_of(item) for item in corpus[1].results}
    edges = {(names[source], name_of(item)) for item in corpus[1].results for source in item.inputs.values()}
    assert edges == {("specs/amd64/stage1-openrc-23", "specs/amd64/stage3d-openrc-23")}
    assert [len(twins) for twins in corpus[1].shared_identities.values()] == [2, 2]


def test_the_estimate_of_official_specs(corpus: tuple[Release, ReleaseGraph]) -> None:
    """The specs contain no complete official configuration, so these numbers differ from the measured ones.

    Estimates of releases with the official structure are in test_catalyst_graph.py.
    """
    times = estimate(corpus[1], 4)
    assert (times.specs, times.levels, times.critical_path) == (25, (24, 1), 2)
    assert (times.makespan, times.with_turns) == (7, 7)
    assert [estimate(corpus[1], jobs).makespan for jobs in (1, 2, 25)] == [25, 13, 2]


@pytest.mark.parametrize("file", SPECS, ids=lambda file: str(file.relative_to(CORPUS)))
def test_official_specs_are_the_same_after_writing(file: Path) -> None:
    values = read_spec(file).values
    assert parse(write(values), file).values == values


VALUES = {
    ("specs/ppc/ppc32/installcd-stage2-minimal", "boot/kernel"): ["ppc64", "ppc32", "ibmpower"],
    ("specs/ppc/ppc32/installcd-stage2-minimal", "livecd/rcadd"): "pbbuttonsd|default",
    ("specs/ppc/ppc32/installcd-stage2-minimal", "boot/kernel/ibmpower/console"): ["ttyS0,9600", "hvc0", "hvsi0"],
    ("specs/amd64/livegui/livegui-stage2", "livecd/unmerge"): "net-misc/netifrc",
    ("specs/amd64/livegui/livegui-stage2", "livecd/empty"): ["/var/db/repos", "/usr/src"],
    ("specs/arm64/stage4w-openrc-23", "rename_regexp"): "s_.tar.xz$_.wsl_",
    ("specs-qemu/mips/o32/stage1-mipsel2-o32-openrc-23", "decompressor_search_order"): "xz",
    ("specs-qemu/hppa/netboot-hppa32", "netboot/packages/sys-fs/mdadm/files"): "/usr/bin/mdadm",
}


@pytest.mark.parametrize(("name", "key"), VALUES)
def test_values_of_official_specs(name: str, key: str) -> None:
    assert read_spec(CORPUS / f"{name}.spec").values[key] == VALUES[name, key]


def test_use_flags_after_a_comment(tmp_path: Path) -> None:
    use = read_spec(CORPUS / "specs-qemu/hppa/netboot-hppa32.spec").words("netboot/use")
    assert (use[0], use[3:5], use[-1]) == ("-*", ["libtommath", "multicall"], "gnu")


def test_check_and_graph_commands_with_official_specs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalyst", "check", str(CORPUS), "--strict", "--json"]) == Exit.INVALID
    checked = json.loads(capsys.readouterr().out)
    assert (checked["specs"], checked["findings"]) == (25, [])
    assert {error["message"].partition(" for ")[0] for error in checked["errors"]} == {"subarch: media"}
    assert run(["catalyst", "graph", str(CORPUS), "--json", "--set", "TIMESTAMP=20260628T164555Z"]) == Exit.OK
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 25
    stamp = "20260628T164555Z"
    for row in rows:
        expected = EXPECTED[str(Path(row["spec"]).relative_to(CORPUS).with_suffix(""))]
        assert (row["output"], *row["sources"], *row["artifacts"]) == tuple(word.replace(T, stamp) for word in expected)
