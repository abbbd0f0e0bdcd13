"""Matrices, templates, and projects from tables with files outside of the project."""

from __future__ import annotations

from pathlib import Path

import pytest
from drafts import KINDS, Draft

from stagewright.errors import Place, ProblemsError, Reason
from stagewright.project.load import project_from_tables
from stagewright.project.matrix import expand
from stagewright.project.model import FileLocations
from stagewright.project.tables import NAMED, Problems, Table


def names(draft: Draft, table: str = "stages") -> list[str]:
    return list(draft.load().entries[table])


def test_a_table_of_lists_gives_every_combination(draft: Draft) -> None:
    draft.write("""
[seeds.s]
file = "s.tar"
[stages."stage3-{init}-{libc}"]
kind = "root"
root = "s"
matrix = { init = ["openrc", "systemd"], libc = ["glibc", "musl"], exclude = [{ init = "systemd", libc = "musl" }] }
patterns = ["{init}", "{libc}-{name}"]
values = { INIT = "{init}" }
""")
    (draft.folder / "s.tar").touch()
    project = draft.load()
    assert list(project.entries["stages"]) == ["stage3-openrc-glibc", "stage3-openrc-musl", "stage3-systemd-glibc"]
    model = project.entries["stages"]["stage3-openrc-musl"].model
    assert (model.patterns, model.values) == (["openrc", "musl-p"], {"INIT": "openrc"})  # type: ignore[attr-defined]


def test_a_list_of_tables_gives_its_rows(draft: Draft) -> None:
    draft.write("""
[variables]
site = "here"
[stages."{variant}"]
kind = "root"
matrix = [{ variant = "a", pattern = "{site}" }, { variant = "b", pattern = "{{x}}" }]
patterns = ["{pattern}"]
""")
    stages = draft.load().entries["stages"]
    found = {name: entry.model.patterns for name, entry in stages.items()}  # type: ignore[attr-defined]
    assert found == {"a": ["here"], "b": ["{x}"]}


def test_values_are_appended_to_a_name_without_variables(draft: Draft) -> None:
    draft.write('[stages.s]\nkind = "root"\nmatrix = { init = ["a", "b"], libc = ["x"] }\n')
    assert names(draft) == ["s-a-x", "s-b-x"]


def test_variants_refer_to_each_other(draft: Draft) -> None:
    draft.write("""
[seeds."seed-{arch}"]
file = "{arch}.tar"
matrix = { arch = ["amd64", "arm64"] }
[stages."base-{arch}"]
kind = "root"
root = "seed-{arch}"
matrix = { arch = ["amd64", "arm64"] }
[stages."iso-{arch}"]
kind = "image"
live = "base-{arch}"
boot = "base-{arch}"
matrix = { arch = ["amd64", "arm64"] }
[tests."boots-{arch}"]
boots = "iso-{arch}"
matrix = { arch = ["amd64"] }
""")
    for arch in ("amd64", "arm64"):
        (draft.folder / f"{arch}.tar").touch()
    project = draft.load()
    assert project.entries["stages"]["iso-arm64"].model.live == "base-arm64"  # type: ignore[attr-defined]
    assert list(project.entries["tests"]) == ["boots-amd64"]


MISTAKES = {
    "matrix = §3": [Reason.INVALID_VALUE],
    "matrix = §[]": [Reason.INVALID_VALUE],
    "matrix = §[1]": [Reason.INVALID_VALUE],
    "matrix = §{}": [Reason.INVALID_VALUE],
    "matrix = [§{}]": [Reason.INVALID_VALUE],
    'matrix = { init = §"a" }': [Reason.INVALID_VALUE],
    "matrix = { init = §[] }": [Reason.INVALID_VALUE],
    "matrix = { init = [§1] }": [Reason.INVALID_VALUE],
    'matrix = { "in it" = §["a"] }': [Reason.INVALID_VALUE],
    'matrix = { init = ["a"], exclude = §3 }': [Reason.INVALID_VALUE],
    'matrix = { init = ["a"], exclude = §[{ init = "a" }] }': [Reason.INVALID_VALUE],
    'matrix = { init = ["a", "b"], exclude = [{ init = §"c" }, { libc = §"a" }] }': [Reason.UNKNOWN_NAME] * 2,
    'matrix = [{ init = "a" }, §{ libc = "b" }]': [Reason.INVALID_VALUE],
    "matrix = [{ init = §1 }]": [Reason.INVALID_VALUE],
}


@pytest.mark.parametrize("text", MISTAKES)
def test_errors_in_a_matrix_have_a_place(text: str, draft: Draft) -> None:
    draft.write(f'[stages.s]\nkind = "root"\n{text}\n').check(*MISTAKES[text])


def test_variants_with_the_same_name_are_reported(draft: Draft) -> None:
    draft.write('[§stages."s-{init}"]\nkind = "root"\nmatrix = { init = ["a", "b"], libc = ["x", "y"] }\n')
    draft.check(Reason.DUPLICATE_NAME)


def test_unknown_variables_are_reported(draft: Draft) -> None:
    text = '[§stages."s-{other}"]\nkind = "root"\nmatrix = { init = ["a"] }\npatterns = [§"{nothing}"]\n'
    draft.write(text)
    assert Reason.UNKNOWN_NAME in {problem.reason for problem in draft.problems()}
    assert {problem.place for problem in draft.problems()} == set(draft.expected)


def test_an_error_in_all_variants_is_reported_once(draft: Draft) -> None:
    draft.write('[stages.s]\nkind = "root"\nmatrix = { init = ["a", "b"] }\nquiet = §"yes"\n')
    draft.check(Reason.INVALID_VALUE)


def test_stages_extend_templates(draft: Draft) -> None:
    draft.write("""
[templates.common]
kind = "root"
patterns = ["a"]
[templates.more]
extends = "common"
patterns = ["...", "b"]
[stages.s]
extends = "more"
patterns = ["...", "c"]
[stages."t-{x}"]
extends = "common"
matrix = { x = ["1", "2"] }
""")
    stages = draft.load().entries["stages"]
    found = {name: entry.model.patterns for name, entry in stages.items()}  # type: ignore[attr-defined]
    assert found == {"s": ["a", "b", "c"], "t-1": ["a"], "t-2": ["a"]}


def test_a_matrix_is_inherited_from_a_template(draft: Draft) -> None:
    draft.write("""
[templates.both]
kind = "root"
matrix = { init = ["openrc", "systemd"] }
[stages.base]
extends = "both"
[stages.desk]
extends = "both"
""")
    assert names(draft) == ["base-openrc", "base-systemd", "desk-openrc", "desk-systemd"]


def test_errors_in_templates_are_reported(draft: Draft) -> None:
    draft.write("""
[templates.a]
extends = "b"
[templates.b]
extends = §"a"
[templates.d]
kind = "root"
[stages.s]
kind = "root"
extends = §"c"
[§stages.d]
kind = "root"
""")
    draft.check(Reason.CYCLE, Reason.UNKNOWN_NAME, Reason.DUPLICATE_NAME)


def tables(**entries: dict[str, object]) -> dict[str, dict[str, Table]]:
    place = Place(Path("x.spec"), 3, 7)
    found: dict[str, dict[str, Table]] = {name: {} for name in NAMED}
    for name, data in entries.items():
        found["stages"][name] = Table(data, {(): place, ("overlay",): Place(Path("x.spec"), 9, 1)})
    return found


def head() -> Table:
    return Table({"format": 1, "project": {"name": "p", "version": "1"}})


def test_files_outside_of_the_project_folder_are_found(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    files = FileLocations(tmp_path, {"files/overlay": tmp_path / "far"})
    named = tables(s={"kind": "root", "overlay": ["files/overlay"]})
    project = project_from_tables(head(), named, files, KINDS, [])
    assert project.path("files/overlay") == tmp_path / "far"
    assert project.path("other") == tmp_path / "other"


def test_a_lenient_project_lists_missing_files(tmp_path: Path) -> None:
    named = tables(s={"kind": "root", "overlay": ["files/overlay"]})
    with pytest.raises(ProblemsError) as caught:
        project_from_tables(head(), named, FileLocations(tmp_path), KINDS, [])
    assert [problem.place for problem in caught.value.problems] == [Place(Path("x.spec"), 9, 1)]
    named = tables(s={"kind": "root", "overlay": ["files/overlay"]})
    project = project_from_tables(head(), named, FileLocations(tmp_path), KINDS, [], lenient=True)
    assert [problem.reason for problem in project.missing] == [Reason.MISSING_FILE]


def test_the_limit_of_entries_counts_variants_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stagewright.project.matrix.MOST_ENTRIES", 3)
    plain = {f"s{number}": Table({"kind": "root"}) for number in range(6)}
    problems: Problems = []
    assert list(expand(plain, "stages", {}, problems)) == list(plain)
    assert problems == []
    matrix = Table({"kind": "root", "matrix": {"init": ["a", "b"]}})
    expand({"one": matrix, "two": matrix}, "stages", {}, problems)
    assert [problem.reason for problem in problems] == [Reason.INVALID_VALUE]
    assert "too many variants in stages" in problems[0].message
