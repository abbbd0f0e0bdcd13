"""Converted projects: entries become matrices, which several entries share, and the text means the same entries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from releases import HEAD, World, keys_in

from stagewright.catalyst.convert.converter import ConvertedRelease
from stagewright.catalyst.convert.entry_draft import EntryDraft
from stagewright.catalyst.convert.groups import groups_of
from stagewright.catalyst.convert.matrices import merge_entries
from stagewright.catalyst.convert.spec_lines import spec_lines
from stagewright.catalyst.convert.write_project import project_text
from stagewright.dropin.written import differences, write_and_read
from stagewright.errors import Place, ProblemsError, Reason, StagewrightError
from stagewright.kinds.registry import kinds
from stagewright.project.load import _resolve, load
from stagewright.project.model import FileLocations
from stagewright.project.source import read
from stagewright.project.tables import Table, TextBudget, read_tables


def draft(table: str, entry: str, **data: Any) -> EntryDraft:
    return EntryDraft(table, entry, f"{entry}.spec", Place(Path("x")), data)


def chain(variant: str, *, folder: str = "1.0", **data: str) -> list[EntryDraft]:
    """A seed, a stage1, its stage3, and their tarballs."""
    found = [
        draft("seeds", f"stage3-{variant}-seed", file=f"builds/{folder}/stage3-{variant}-latest.tar.xz", arch="arm")
    ]
    root = f"stage3-{variant}-seed"
    for kind in ("stage1", "stage3"):
        name = f"{kind}-{variant}"
        more = {"profile": f"default/linux/{variant}", "confdir": ["files/stages"], "repos": ["gentoo"], **data}
        found.append(draft("stages", name, kind=kind, root=root, **more))
        found.append(
            draft("stages", f"{name}.tar", kind="tarball", root=name, name=f"{name}-{{TIMESTAMP}}", compression="xz")
        )
        root = name
    return found


def written(drafts: list[EntryDraft], folder: Path, *, merged: bool = True) -> str:
    head = Table({"format": 1, "project": {"name": "p", "version": "1"}, "variables": {"TIMESTAMP": "T"}})
    converted = ConvertedRelease(head, drafts, FileLocations(folder), [])
    return project_text(converted, folder, merged=merged)


def meaning(text: str, folder: Path) -> dict[tuple[str, str], Any]:
    """Return the entries of a project file with everything expanded."""
    file = folder / "stagewright.toml"
    file.write_text(text, encoding="utf-8")
    problems: list[StagewrightError] = []
    _, named = read_tables(read(file), folder, problems)
    _resolve(named, {"TIMESTAMP": "T"}, problems, TextBudget())
    assert problems == []
    return {(table, name): entry.data for table in ("seeds", "stages") for name, entry in named[table].items()}


def test_stages_their_seeds_and_tarballs_share_one_matrix(tmp_path: Path) -> None:
    names = ["a-openrc", "a-systemd", "b-hardened-openrc", "b-openrc"]
    drafts = [one for number, name in enumerate(names) for one in chain(name, folder=f"1.{number % 2}")]
    text = written(drafts, tmp_path)
    assert text.count("{ variant = ") == len(names)
    assert text.count('matrix = "variants"') == 3
    assert 'file = "builds/{folder}/stage3-{variant}-latest.tar.xz"' in text
    assert 'tar = { name = "stage3-{variant}-{TIMESTAMP}", compression = "xz" }' in text
    assert "tarball" not in text
    assert meaning(text, tmp_path) == meaning(written(drafts, tmp_path, merged=False), tmp_path)


def test_groups_of_different_shapes_have_different_names(tmp_path: Path) -> None:
    """Stages with and without a CHOST have no common prefix but that of their kind."""
    drafts = [one for name in ("v4-openrc", "v4-systemd", "v7-openrc") for one in chain(name)]
    drafts += [
        one for name in ("v4-musl-openrc", "v4-musl-systemd", "v7-musl-openrc") for one in chain(name, chost=name)
    ]
    text = written(drafts, tmp_path)
    entries = merge_entries(drafts)
    assert len({(entry.table, entry.name) for entry in entries}) == len(entries)
    assert "{musl_variant}" in text
    assert meaning(text, tmp_path) == meaning(written(drafts, tmp_path, merged=False), tmp_path)


def test_references_of_another_form_make_another_group() -> None:
    """A stage3 of a desktop is built on the stage1 of another stage3."""
    drafts = [one for name in ("x-a", "x-b", "x-c") for one in chain(name)]
    for name in ("a", "b"):
        more = {"profile": "p", "confdir": ["files/stages"], "repos": ["gentoo"]}
        drafts.append(draft("stages", f"stage3-x-desktop-{name}", kind="stage3", root=f"stage1-x-{name}", **more))
    groups = [[one.name for one in group] for group in groups_of(drafts)]
    assert ["stage3-x-a", "stage3-x-b", "stage3-x-c"] in groups
    assert ["stage3-x-desktop-a", "stage3-x-desktop-b"] in groups


WORD = st.sampled_from(["a", "b", "musl", "openrc", "systemd", "variant", "x-y", "{{", "t64"])
VARIANTS = st.lists(st.lists(WORD, min_size=1, max_size=3).map("-".join), min_size=1, max_size=7, unique=True)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(variants=VARIANTS, data=st.data())
def test_a_project_with_matrices_means_the_same_as_one_without(
    variants: list[str], data: st.DataObject, tmp_path: Path
) -> None:
    drafts = []
    for variant in variants:
        clean = variant.replace("{", "k")
        more = {"chost": clean} if data.draw(st.booleans()) else {}
        more |= {"odd": variant if variant.count("{") % 2 == 0 else "x"} if data.draw(st.booleans()) else {}
        found = chain(clean, folder=data.draw(st.sampled_from(["1.0", "2.0"])), **more)
        drafts += found if data.draw(st.booleans()) else found[:3]
    assert meaning(written(drafts, tmp_path), tmp_path) == meaning(written(drafts, tmp_path, merged=False), tmp_path)


NAMES = {
    ("a/stage1-openrc.spec", "a/stage1-systemd.spec", "b/stage1-openrc.spec", "b/stage1-systemd.spec"): [
        "{a,b}/stage1-{openrc,systemd}.spec"
    ],
    ("one.spec",): ["one.spec"],
    ("x/a.spec", "b.spec"): ["x/a.spec", "b.spec"],
    ("stage1-a.spec", "stage1-a-b.spec"): ["stage1-{a,a-b}.spec"],
    ("a b.spec", "a c.spec"): ["{a b,a c}.spec"],
}


@pytest.mark.parametrize("names", NAMES)
def test_many_specs_are_named_in_one_line(names: tuple[str, ...]) -> None:
    assert sorted(spec_lines(names)) == sorted(NAMES[names])


def test_long_lines_of_names_are_wrapped() -> None:
    lines = spec_lines([f"folder-{number:02}/spec-{number % 3}.spec" for number in range(60)])
    assert max(map(len, lines)) <= 98


MEMBERS = ("openrc", "systemd", "t64-openrc", "t64-systemd")


def releases(world: World) -> None:
    """Specs of one architecture with two C libraries: those of one of them have a CHOST."""
    for sub in ("armv5tel", "armv6j"):
        head = HEAD.replace("amd64", sub, 1)
        for member in MEMBERS:
            for libc, more in (("", ""), ("musl-", f"chost: {sub}-unknown-linux-musleabi\n")):
                stamp, source = f"{libc}{member}-@TIMESTAMP@", f"1.0/stage3-{sub}-{libc}{member}-latest"
                text = f"target: stage1\nversion_stamp: {stamp}\nsource_subpath: {source}\n{more}"
                world.write(f"{sub}-{libc}{member}", text, head)


def test_what_is_written_is_read_again_with_equal_keys(world: World, tmp_path: Path) -> None:
    releases(world)
    loaded = world.load().usable(keep_refused=True)
    assert not loaded.left_out
    project = loaded.project(lenient=True)
    list(write_and_read(loaded, project, tmp_path / "out", tmp_path / "none"))
    text = (tmp_path / "out/stagewright.toml").read_text(encoding="utf-8")
    assert text.count('matrix = "variants"') == text.count('matrix = "musl_variants"') == 2
    assert keys_in(load(tmp_path / "out", kinds(), lenient=True)).keys() == keys_in(project).keys()
    assert differences(project, tmp_path / "out") == []


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


def test_a_wrong_project_is_noticed_and_written_without_matrices(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect in the merging of entries costs length only."""
    releases(world)
    loaded = world.load()
    project = loaded.project(lenient=True)
    module = "stagewright.catalyst.convert.write_project.merge_entries"
    monkeypatch.setattr(module, lambda drafts: merge_entries(drafts)[:-1])
    list(write_and_read(loaded, project, tmp_path / "out", tmp_path / "none"))
    assert "matrix" not in (tmp_path / "out/stagewright.toml").read_text(encoding="utf-8")
    assert differences(project, tmp_path / "out") == []
    monkeypatch.setattr("stagewright.catalyst.convert.write_project.single_entries", lambda drafts: [])
    with pytest.raises(StagewrightError) as caught:
        list(write_and_read(loaded, project, tmp_path / "other", tmp_path / "none"))
    assert caught.value.reason is Reason.BUG


SHARED = """\
format = 1
[project]
name = "p"
version = "1"
[templates.variants]
matrix = [{ variant = "a", file = "a.tar" }, { variant = "b", file = "b.tar" }]
[seeds."{variant}-seed"]
matrix = "variants"
file = "{file}"
[templates.released]
tar = { compression = "xz" }
[stages."{variant}"]
extends = "released"
matrix = "variants"
kind = "stage4"
root = "{variant}-seed"
tar = { name = "{variant}-{version}" }
[stages.other]
kind = "stage4"
root = "a"
tar = true
[stages.last]
extends = "other"
tar = false
"""


def project(folder: Path, text: str) -> Any:
    (folder / "stagewright.toml").write_text(text, encoding="utf-8")
    for name in ("a.tar", "b.tar"):
        (folder / name).touch()
    return load(folder, kinds())


def test_a_matrix_of_a_template_and_tarballs_of_stages(tmp_path: Path) -> None:
    found = project(tmp_path, SHARED)
    assert list(found.entries["seeds"]) == ["a-seed", "b-seed"]
    assert list(found.entries["stages"]) == ["a", "a.tar", "b", "b.tar", "other", "other.tar", "last"]
    tarball = found.entries["stages"]["b.tar"].model
    assert (tarball.root, tarball.name, tarball.compression.value) == ("b", "b-1", "xz")
    assert found.entries["stages"]["other.tar"].model.root == "other"


WRONG = {
    "an unknown template": ('matrix = "variants"\nfile', 'matrix = "variant"\nfile', Reason.UNKNOWN_NAME),
    "a tarball of another kind": ("tar = true", 'tar = { kind = "iso" }', Reason.UNKNOWN_KEY),
    "a tarball of another root": ("tar = true", 'tar = { root = "b" }', Reason.UNKNOWN_KEY),
    "a text": ("tar = true", 'tar = "xz"', Reason.INVALID_VALUE),
    "an unknown setting": ("tar = true", 'tar = { compresion = "xz" }', Reason.UNKNOWN_KEY),
    "a name that is used": ("[stages.last]", '[stages."other.tar"]', Reason.DUPLICATE_NAME),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_matrices_and_tarballs_have_a_place(case: str, tmp_path: Path) -> None:
    old, new, reason = WRONG[case]
    text = SHARED.replace(old, new)
    with pytest.raises(ProblemsError) as caught:
        project(tmp_path, text)
    error = next(one for one in caught.value.problems if one.reason is reason)
    assert error.place
    assert error.place.line in [
        number for number, line in enumerate(text.splitlines(), 1) if "matrix" in line or "tar" in line
    ]
