"""Errors in specs are reported at once, each with its place."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagewright.catalyst.estimate import estimate
from stagewright.catalyst.load_release import load
from stagewright.catalyst.release import Release
from stagewright.catalyst.spec_keys import KEYS
from stagewright.errors import ProblemsError, Reason

STAGE3 = """\
subarch: amd64
target: stage3
version_stamp: openrc-@TIMESTAMP@
rel_type: 23.0-default
profile: default/linux/amd64/23.0
snapshot_treeish: @TREEISH@
source_subpath: 23.0-default/stage1-amd64-openrc-@TIMESTAMP@
"""
LIVECD2 = STAGE3.replace("stage3", "livecd-stage2").replace("openrc-@", "@").replace("stage1", "livecd-stage1")
LIVECD2 += "boot/kernel: gentoo\nlivecd/iso: x.iso\n"

Checked = Callable[..., Release]


@pytest.fixture
def checked(tmp_path: Path) -> Checked:
    """Write specs and read them."""

    def call(*texts: str, **given: str) -> Release:
        for number, text in enumerate(texts):
            (tmp_path / f"{number}.spec").write_text(text, encoding="utf-8")
        return load([tmp_path], [], given)[0]

    return call


def found(release: Release) -> list[tuple[Reason, int, int]]:
    if not release.problems:
        return []
    problems = ProblemsError(release.problems).problems
    assert all(problem.hint for problem in problems)
    return [(item.reason, item.place.line, item.place.column) for item in problems if item.place]


def test_valid_specs_have_no_errors(checked: Checked) -> None:
    release = checked(STAGE3, LIVECD2)
    assert found(release) == []
    assert len(release.members) == 2


WRONG: dict[str, tuple[str, tuple[Reason, int, int], str]] = {
    "unknown key": (STAGE3 + "portage_confdr: x\n", (Reason.UNKNOWN_KEY, 8, 1), "'portage_confdir'"),
    "key of another target": (STAGE3 + "chost: x\n", (Reason.UNKNOWN_KEY, 8, 1), ""),
    "key of an earlier Catalyst": (STAGE3 + "snapshot: 1\n", (Reason.UNKNOWN_KEY, 8, 1), "snapshot_treeish"),
    "space before the colon": (STAGE3 + "portage_prefix : x\n", (Reason.UNKNOWN_KEY, 8, 1), "spaces before the colon"),
    "capitals": (STAGE3 + "Portage_prefix: x\n", (Reason.UNKNOWN_KEY, 8, 1), "capitals"),
    "slot in a list": (
        STAGE3 + "keep_repos:\n\tcat/pkg:0\n",
        (Reason.UNKNOWN_KEY, 9, 2),
        "a colon on any other line starts a key",
    ),
    "slot in a list, not indented": (
        STAGE3 + "repos:\ncat/pkg:0\n",
        (Reason.UNKNOWN_KEY, 9, 1),
        "a colon on any other line starts a key",
    ),
    "missing key": (STAGE3.replace("profile: d", "# "), (Reason.MISSING_KEY, 2, 9), "profile"),
    "none for a required key": (
        STAGE3.replace("default/linux/amd64/23.0", "none"),
        (Reason.MISSING_KEY, 2, 9),
        "profile",
    ),
    "no target": (STAGE3.replace("target: stage3", ""), (Reason.MISSING_KEY, 1, 1), "stage4"),
    "unknown target": (STAGE3.replace("target: stage3", "target: stage33"), (Reason.UNKNOWN_KIND, 2, 9), "'stage3'"),
    "unknown subarch": (STAGE3.replace("amd64\n", "amd46\n", 1), (Reason.UNKNOWN_NAME, 1, 10), "'amd64'"),
    "two words": (STAGE3.replace("amd64\n", "amd64 x32\n", 1), (Reason.INVALID_VALUE, 1, 16), "one word"),
    "words on a second line": (
        STAGE3.replace("amd64\n", "amd64\n  x32\n", 1),
        (Reason.INVALID_VALUE, 2, 3),
        "key above",
    ),
    "compression": (STAGE3 + "compression_mode: pixzz\n", (Reason.INVALID_VALUE, 8, 19), "'pixz'"),
    "folder in a name": (STAGE3.replace("stamp: ", "stamp: x/"), (Reason.INVALID_VALUE, 3, 16), "/"),
    "a sed script that is none": (STAGE3 + "rename_regexp: s_x\n", (Reason.INVALID_VALUE, 8, 16), "sed"),
    "an option of sed": (STAGE3 + "rename_regexp: --file=/etc/passwd\n", (Reason.INVALID_VALUE, 8, 16), "sed"),
    "a sed script that runs a command": (STAGE3 + "rename_regexp: s/x/y/e\n", (Reason.INVALID_VALUE, 8, 16), "sed"),
    "a sed script without end": (STAGE3 + "rename_regexp: :a;ba\n", (Reason.INVALID_VALUE, 8, 16), "sed"),
    "a sed script that leaves no name": (STAGE3 + "rename_regexp: d\n", (Reason.INVALID_VALUE, 8, 16), "sed"),
    "missing file": (STAGE3 + "portage_confdir: /nowhere/x\n", (Reason.MISSING_FILE, 8, 18), "path"),
    "a name no file can have": (STAGE3 + f"portage_confdir: {'x' * 999}\n", (Reason.MISSING_FILE, 8, 18), "path"),
    "a kernel that is not named": (
        LIVECD2 + "boot/kernel/gento/sources: x\n",
        (Reason.UNKNOWN_KEY, 10, 1),
        "'gentoo'",
    ),
    "a kernel's misspelt key": (LIVECD2 + "boot/kernel/gentoo/confg: x\n", (Reason.UNKNOWN_KEY, 10, 1), "config'"),
    "volume id": (LIVECD2 + f"livecd/volid: {'x' * 33}\n", (Reason.INVALID_VALUE, 10, 15), "shorter"),
    "distkernel": (LIVECD2 + "boot/kernel/gentoo/distkernel: true\n", (Reason.INVALID_VALUE, 10, 32), "yes"),
    "a percent sign": (STAGE3 + "portage_prefix: 5%\n", (Reason.SYNTAX, 8, 17), "%%"),
}


@pytest.mark.parametrize(
    ("text", "expected", "hint"),
    [
        pytest.param(*wrong, id=name, marks=[pytest.mark.slow] if name == "a sed script without end" else [])
        for name, wrong in WRONG.items()
    ],
)
def test_an_error_has_its_reason_and_place(
    checked: Checked, text: str, expected: tuple[Reason, int, int], hint: str
) -> None:
    release = checked(text)
    assert expected in found(release)
    assert len(found(release)) == 1
    assert hint in release.problems[0].hint


def test_all_errors_are_reported_sorted_by_place(checked: Checked) -> None:
    text = STAGE3.replace("subarch: amd64", "subarch: adm64\nsubarhc: x")
    release = checked(text + "compression_mode: x\n", LIVECD2.replace("boot/kernel: gentoo", "boot/kernal: gentoo"))
    assert found(release) == [
        (Reason.UNKNOWN_NAME, 1, 10),
        (Reason.UNKNOWN_KEY, 2, 1),
        (Reason.INVALID_VALUE, 9, 19),
        (Reason.MISSING_KEY, 2, 9),
        (Reason.UNKNOWN_KEY, 8, 1),
    ]


def test_keys_that_catalyst_ignores_are_noticed(checked: Checked) -> None:
    release = checked(STAGE3 + "cflags: -O2\n", LIVECD2 + "boot/kernel/gentoo/use: a\n")
    assert found(release) == []
    assert [item.place.line for item in release.notices if item.text.endswith("and ignores it")] == [8, 10]


def test_tokens_are_replaced_or_kept(checked: Checked, tmp_path: Path) -> None:
    text = STAGE3 + "portage_confdir: @REPO_DIR@/confdir\n"
    assert found(checked(text)) == []
    assert found(checked(text, REPO_DIR=str(tmp_path))) == [(Reason.MISSING_FILE, 8, 18)]
    (tmp_path / "confdir").mkdir()
    assert found(checked(text, REPO_DIR=str(tmp_path))) == []


def test_files_of_other_machines_are_looked_for_below_the_folder(checked: Checked, tmp_path: Path) -> None:
    text = LIVECD2 + "livecd/fsscript: /root/releng/releases/s.sh\nlivecd/cdtar: /usr/share/catalyst/cd.tar\n"
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases" / "s.sh").touch()
    release = checked(text)
    assert found(release) == []
    texts = {item.place.line: item.text for item in release.notices}
    assert str(tmp_path / "releases" / "s.sh") in texts[10]
    assert "not found on this machine" in texts[11]


def test_kernel_configs_are_found_by_their_base_names(tmp_path: Path) -> None:
    for name in ("specs", "kconfig/amd64", "tools"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "kconfig/amd64/here.config").touch()
    text = LIVECD2.replace("kernel: gentoo", "kernel: one two") + "boot/kernel/one/config: ../../x/here.config\n"
    (tmp_path / "specs/a.spec").write_text(text + "boot/kernel/two/config: /y/there.config\n", encoding="utf-8")
    conf = tmp_path / "tools" / "auto.conf"
    conf.write_text(
        'SPECS_DIR=${REPO_DIR}/specs\nKCONFIG_DIR=${REPO_DIR}/kconfig\nSETS="s"\nSET_s_SPECS="a.spec"\n',
        encoding="utf-8",
    )
    release = load([], [conf], {})[0]
    assert (Reason.MISSING_FILE, 11, 25) in found(release)
    assert [line for reason, line, _ in found(release) if reason is Reason.MISSING_FILE] == [11]
    alone = load([tmp_path / "specs"], [], {})[0]
    assert [item.place.line for item in alone.notices if "KCONFIG_DIR" in item.text] == [10, 11]
    assert found(alone) == []


def test_missing_specs_of_sets_are_reported(tmp_path: Path) -> None:
    (tmp_path / "a.spec").write_text(STAGE3, encoding="utf-8")
    conf = tmp_path / "auto.conf"
    conf.write_text(
        f'SPECS_DIR={tmp_path}\nSETS="s"\nSET_s_SPECS="a.spec b.spec"\nSET_s_OPTIONAL_SPECS="a.spec"\n',
        encoding="utf-8",
    )
    release = load([tmp_path / "a.spec"], [conf], {})[0]
    assert [(error.reason, error.place.line) for error in release.absent if error.place] == [(Reason.MISSING_FILE, 3)]
    (member,) = release.members
    assert (member.sets, member.optional) == (("s", "s"), True)


@pytest.mark.parametrize("name", ["nothing.spec", "folder"])
def test_missing_specs_are_reported(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (problem,) = load([tmp_path / name], [], {})[0].problems
    assert problem.reason is Reason.MISSING_FILE


def test_a_call_without_specs_is_an_error() -> None:
    (problem,) = load([], [], {})[0].problems
    assert problem.reason is Reason.USAGE


NAMES = [key.name.replace("<kernel>", "k").replace("<package>", "a/b") for key in KEYS]
ODD = [
    "a/stage3-amd64-openrc-@TIMESTAMP@",
    "a/stage3-amd64-latest",
    "k",
    "a/b",
    "none",
    "/",
    "..",
    "x" * 300,
    "\0",
    "é",
    ":",
    "'",
]
LINES = st.tuples(st.sampled_from(NAMES), st.lists(st.sampled_from(ODD), max_size=2).map(" ".join)).map(": ".join)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([STAGE3, LIVECD2, ""]), st.lists(LINES, max_size=12)), max_size=3))
def test_any_values_are_checked_without_exceptions(specs: list[tuple[str, list[str]]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        for number, (head, lines) in enumerate(specs):
            (Path(name) / f"{number}.spec").write_text(head + "\n".join(lines), encoding="utf-8")
        release, graph = load([Path(name)], [], {})
        assert estimate(graph, 2).specs == len(graph.results) <= len(specs)
        assert all(problem.place and problem.hint for problem in release.problems)
        if not release.problems:
            assert len(graph.graph().nodes) >= len(graph.results)
