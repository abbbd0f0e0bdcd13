"""The graph of a release: identities, sources, collisions; and estimates of releases with the official structure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stagewright.catalyst.catalyst_conf import CatalystConfig
from stagewright.catalyst.estimate import estimate, makespan
from stagewright.catalyst.load_release import load
from stagewright.catalyst.release import Release
from stagewright.catalyst.release_graph import ReleaseGraph, SpecResult, source_identity
from stagewright.errors import ProblemsError, Reason
from stagewright.graph.draw import Picture, draw

MORE = {
    "stage4": "stage4/packages: a/b",
    "livecd-stage1": "livecd/packages: a/b",
    "livecd-stage2": "boot/kernel: gentoo",
    "livecd-stage3": "boot/kernel: gentoo",
    "netboot": "boot/kernel: gentoo",
    "diskimage-stage1": "diskimage/packages: a/b",
    "diskimage-stage2": "boot/kernel: gentoo",
}


def spec(target: str, stamp: str, source: str, *more: str, subarch: str = "amd64", rel: str = "23.0-default") -> str:
    lines = [
        f"subarch: {subarch}",
        f"target: {target}",
        f"version_stamp: {stamp}",
        f"rel_type: {rel}",
        f"profile: default/linux/{subarch}",
        "snapshot_treeish: @TREEISH@",
        f"source_subpath: {source if '/' in source else f'{rel}/{source}'}",
        *filter(None, [MORE.get(target)]),
        *more,
    ]
    return "\n".join(lines) + "\n"


Read = Callable[..., tuple[Release, ReleaseGraph]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write specs and read them with their graph."""

    def call(**texts: str) -> tuple[Release, ReleaseGraph]:
        for name, text in texts.items():
            (tmp_path / f"{name}.spec").write_text(text, encoding="utf-8")
        return load([tmp_path], [], {})

    return call


def by_spec(graph: ReleaseGraph) -> dict[str, SpecResult]:
    return {item.member.spec.file.stem: item for item in graph.results}


T = "@TIMESTAMP@"


def test_stage1_and_stage3_of_a_variant_are_not_a_cycle(read: Read) -> None:
    """The stage1 starts from the stage3 of the previous run."""
    release, graph = read(
        one=spec("stage1", f"openrc-{T}", "stage3-amd64-openrc-latest"),
        three=spec("stage3", f"openrc-{T}", f"stage1-amd64-openrc-{T}.tar.xz"),
    )
    assert release.problems == []
    found = by_spec(graph)
    assert found["one"].seeds == {"source": "23.0-default/stage3-amd64-openrc-latest"}
    assert found["three"].inputs == {"source": f"23.0-default/stage1-amd64-openrc-{T}"}


def test_latest_is_linked_to_the_spec_of_this_run(read: Read) -> None:
    release, graph = read(
        three=spec("stage3", f"openrc-{T}", "seeds/some"),
        older=spec("stage3", "openrc-20240101", "seeds/some"),
        other=spec("stage3", f"openrc-musl-{T}", "seeds/some"),
        four=spec("stage4", T, "stage3-amd64-openrc-latest.tar.xz"),
        bare=spec("stage4", f"x-{T}", "stage3-amd64-latest"),
    )
    assert release.problems == []
    assert by_spec(graph)["four"].inputs == {"source": f"23.0-default/stage3-amd64-openrc-{T}"}
    assert by_spec(graph)["bare"].inputs == {}


def test_artifacts_have_catalysts_paths(read: Read) -> None:
    found = by_spec(
        read(
            a=spec("stage3", "a", "s/s", "compression_mode: pixz"),
            b=spec("stage3", "b", "s/s"),
            c=spec("stage4", "c", "s/s", "compression_mode: pixz", "rename_regexp: s_.tar.xz$_.wsl_"),
            d=spec("livecd-stage2", "d", "s/s", "livecd/iso: d.iso"),
            e=spec("livecd-stage2", "e", "s/s", "livecd/iso: /srv/e.iso"),
            f=spec("livecd-stage2", "f", "s/s"),
            g=spec("diskimage-stage2", "g", "s/s", "diskimage/qcow2: g.qcow2"),
            h=spec("netboot", "h", "s/s"),
            i="target: snapshot\nsnapshot_treeish: abc\n",
        )[1]
    )
    assert {name: item.artifacts for name, item in found.items()} == {
        "a": ("23.0-default/stage3-amd64-a.tar.xz",),
        "b": ("23.0-default/stage3-amd64-b.tar.bz2",),
        "c": ("23.0-default/stage4-amd64-c.wsl",),
        "d": ("23.0-default/d.iso",),
        "e": ("/srv/e.iso",),
        "f": (),
        "g": ("23.0-default/g.qcow2",),
        "h": ("23.0-default/netboot-amd64-h/",),
        "i": ("snapshots/gentoo-abc.sqfs",),
    }


def test_a_snapshot_made_by_a_spec_is_a_source(read: Read) -> None:
    text = spec("stage3", "a", "s/s").replace("@TREEISH@", "abc")
    found = by_spec(read(a=text, b=spec("stage3", "b", "s/s"), c="target: snapshot\nsnapshot_treeish: abc\n")[1])
    assert found["a"].inputs == {"snapshot": "snapshots/gentoo-abc"}
    assert found["b"].inputs == {}


def test_livecd_stage3_has_two_sources(read: Read) -> None:
    cdtar = f"livecd/cdtar: /var/tmp/catalyst/builds/23.0-default/livecd-stage2-amd64-{T}.tar.bz2"
    release, graph = read(
        one=spec("livecd-stage1", T, "s/s"),
        two=spec("livecd-stage2", T, "s/s"),
        three=spec("livecd-stage3", T, f"livecd-stage1-amd64-{T}", cdtar, "livecd/iso: x.iso"),
    )
    assert release.problems == []
    assert by_spec(graph)["three"].inputs == {
        "source": f"23.0-default/livecd-stage1-amd64-{T}",
        "medium": f"23.0-default/livecd-stage2-amd64-{T}",
    }


@pytest.mark.parametrize(
    "path", ["a/b-1", "a/b-1.tar.xz", "a/b-1.tar", "a/b-1.sqfs", "/var/tmp/catalyst/builds/a/b-1.tar.bz2", "a/b-1/"]
)
def test_sources_with_and_without_endings(path: str) -> None:
    assert source_identity(path, CatalystConfig()) == "a/b-1"
    assert source_identity("a/b-2024.1", CatalystConfig()) == "a/b-2024.1"


def reasons(release: Release) -> list[tuple[Reason, str, int]]:
    problems = ProblemsError(release.problems).problems if release.problems else []
    return [(item.reason, item.place.file.stem, item.place.line) for item in problems if item.place]


def test_all_cycles_are_reported(read: Read) -> None:
    release, graph = read(
        a=spec("stage3", "a", "stage3-amd64-b"),
        b=spec("stage3", "b", "stage3-amd64-a"),
        c=spec("stage3", "c", "stage3-amd64-c"),
        d=spec("stage3", "d", "stage3-amd64-c"),
    )
    assert sorted(reason for reason, _, _ in reasons(release)) == [Reason.CYCLE, Reason.CYCLE]
    assert {line for _, _, line in reasons(release)} == {7}
    assert by_spec(graph)["d"].inputs


def test_two_specs_that_write_one_file_are_an_error(read: Read) -> None:
    release, _ = read(a=spec("stage3", "a", "s/s"), b=spec("stage3", "a", "s/s"))
    assert reasons(release) == [(Reason.DUPLICATE_NAME, "b", 3)]


def test_two_specs_of_one_identity_never_run_together(read: Read) -> None:
    """Official specs share an identity if they differ in their ISO or image only."""
    release, graph = read(
        a=spec("livecd-stage2", T, "s/s", "livecd/iso: a.iso"), b=spec("livecd-stage2", T, "s/s", "livecd/iso: b.iso")
    )
    assert release.problems == []
    assert [item.place.file.stem for item in release.notices if "never run together" in item.text] == ["b"]
    identity = f"23.0-default/livecd-stage2-amd64-{T}"
    assert graph.shared_identities == {identity: [f"{identity} [a.iso]", f"{identity} [b.iso]"]}
    times = estimate(graph, 2)
    assert (times.makespan, times.with_turns) == (1, 2)
    assert {node.demand.exclusive for node in graph.graph() if node.kind == "livecd-stage2"} == {identity}


def test_a_source_that_no_spec_makes_is_reported(read: Read, tmp_path: Path) -> None:
    texts = {"a": spec("stage1", f"openrc-{T}", "s/s"), "b": spec("stage3", "b", f"stage1-amd64-systemd-{T}")}
    release, _ = read(**texts)
    assert release.problems == []
    assert {item.place.file.stem for item in release.notices} == {"a", "b"}
    conf = tmp_path / "auto.conf"
    conf.write_text(f'SPECS_DIR={tmp_path}\nSETS="x"\nSET_x_SPECS="a.spec b.spec"\n', encoding="utf-8")
    assert reasons(load([], [conf], {})[0]) == [(Reason.UNKNOWN_NAME, "a", 7), (Reason.UNKNOWN_NAME, "b", 7)]


@pytest.mark.parametrize("source", [f"stage1-amd64-opnerc-{T}", f"23.0-defalt/stage1-amd64-openrc-{T}.tar.xz"])
def test_a_misspelt_source_names_the_nearest(read: Read, source: str) -> None:
    release, _ = read(a=spec("stage1", f"openrc-{T}", "s/x-latest"), b=spec("stage3", "b", source))
    assert reasons(release) == [(Reason.UNKNOWN_NAME, "b", 7)]
    assert f"'23.0-default/stage1-amd64-openrc-{T}'" in release.problems[0].hint


def test_a_source_in_the_storedir_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "store/builds/s").mkdir(parents=True)
    (tmp_path / "a.spec").write_text(spec("stage3", "a", "s/seed"), encoding="utf-8")
    (tmp_path / "catalyst.conf").write_text(f'storedir = "{tmp_path}/store"\n', encoding="utf-8")
    words = ([tmp_path / "a.spec"], [tmp_path / "catalyst.conf"], {})
    assert [notice.place.line for notice in load(*words)[0].notices] == [7]
    (tmp_path / "store/builds/s/seed.tar.xz").touch()
    assert load(*words)[0].notices == []


def test_shared_package_caches_are_in_the_graph(read: Read) -> None:
    graph = read(
        a=spec("stage3", "openrc", "s/s"),
        b=spec("stage3", "systemd", "s/s"),
        c=spec("stage3", "musl", "s/s", rel="23.0-musl"),
        d=spec("stage3", "own", "s/s", "pkgcache_path: /var/tmp/catalyst/packages/23.0-musl/stage3-amd64"),
    )[1]
    assert {path: len(names) for path, names in graph.shared_caches.items()} == {
        "packages/23.0-default/stage3-amd64": 2,
        "packages/23.0-musl/stage3-amd64": 2,
    }
    joined = graph.graph().nodes["packages/23.0-default/stage3-amd64"]
    assert set(joined.inputs.values()) == {"23.0-default/stage3-amd64-openrc", "23.0-default/stage3-amd64-systemd"}


@pytest.mark.parametrize("picture", [Picture.TEXT, Picture.MERMAID, Picture.DOT])
def test_drawings_contain_every_spec(read: Read, picture: Picture) -> None:
    graph = read(a=spec("stage1", "a", "s/x-latest"), b=spec("stage3", "b", "stage1-amd64-a"))[1]
    text = draw(graph.graph(), picture)
    assert all(name in text for name in ("s/x-latest", "23.0-default/stage1-amd64-a", "23.0-default/stage3-amd64-b"))


# the estimate


def variant(arch: str, stamp: str) -> Iterator[tuple[str, str]]:
    """A stage1 and its stage3, as in each set of an official release."""
    yield f"{arch}-{stamp}-1", spec("stage1", f"{stamp}-{T}", f"stage3-{arch}-{stamp}-latest", subarch=arch)
    yield f"{arch}-{stamp}-3", spec("stage3", f"{stamp}-{T}", f"stage1-{arch}-{stamp}-{T}", subarch=arch)


def live(arch: str, *isos: str) -> Iterator[tuple[str, str]]:
    """An installation medium from the openrc stage3."""
    yield f"{arch}-l1", spec("livecd-stage1", T, f"stage3-{arch}-openrc-{T}", subarch=arch)
    for iso in isos:
        more = f"livecd/iso: {iso}.iso"
        yield f"{arch}-{iso}", spec("livecd-stage2", T, f"livecd-stage1-{arch}-{T}", more, subarch=arch)


def netboot(arch: str) -> Iterator[tuple[str, str]]:
    yield f"{arch}-n", spec("netboot", T, f"stage3-{arch}-openrc-{T}", subarch=arch)


def both(*arches: str) -> Iterator[tuple[str, str]]:
    for arch in arches:
        yield from variant(arch, "openrc")
        yield from variant(arch, "systemd")


OFFICIAL = {
    "sparc64": ([*both("sparc", "sparc64"), *live("sparc64", "a", "b")], (4, 4, 1, 2), (6, 4, 4), 5, 5),
    "s390x": ([*both("s390x"), *netboot("s390x")], (2, 2, 1), (3, 3, 3), 3, 3),
    "qemu-alpha": ([*both("alpha"), *live("alpha", "a")], (2, 2, 1, 1), (4, 4, 4), 4, 4),
    "qemu-arm64": (list(both("aarch64_be")), (2, 2), (2, 2, 2), 2, 3),
    "qemu-hppa": (
        [
            *both("hppa1.1", "hppa2.0"),
            *live("hppa1.1", "a"),
            *netboot("hppa1.1"),
            *netboot("hppa2.0"),
        ],
        (4, 4, 3, 1),
        (6, 4, 4),
        4,
        4,
    ),
    "qemu-sparc64": ([*both("sparc", "sparc64"), *live("sparc64", "a")], (4, 4, 1, 1), (5, 4, 4), 4, 4),
}
"""Releases with the structure of official ones, and the numbers measured on those (releng 2542ea88): widths of levels,
steps for 2, 4 and 8 jobs, steps without limit but with exclusive identities, and also with exclusive package caches."""


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_estimate_of_a_known_release(read: Read, name: str) -> None:
    specs, widths, steps, turns, caches = OFFICIAL[name]
    release, graph = read(**dict(specs))
    assert release.problems == []
    times = estimate(graph, 0)
    assert (times.levels, times.critical_path, times.specs) == (widths, len(widths), sum(widths))
    assert tuple(estimate(graph, jobs).makespan for jobs in (2, 4, 8)) == steps
    assert (times.with_turns, times.with_caches) == (turns, caches)


def test_makespan_starts_with_the_longest_path() -> None:
    chain = {"a": set[str](), "b": {"a"}, "c": {"b"}, "x": set[str](), "y": set[str](), "z": set[str]()}
    assert makespan(chain, 2) == 3
    assert makespan(chain, 1) == 6
    assert makespan({}, 3) == 0
