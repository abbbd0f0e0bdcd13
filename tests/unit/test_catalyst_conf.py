"""catalyst.conf, the configuration of catalyst-auto, and the values of ``--set``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from stagewright.catalyst.auto import AutoConf, Notice, looks_like_auto, read_auto
from stagewright.catalyst.catalyst_conf import (
    _OPTIONS,
    _SETTINGS,
    _USED,
    UNUSED,
    UNUSED_OPTIONS,
    CatalystConfig,
    ending,
    read_config,
)
from stagewright.catalyst.tokens import STAMP, parse_settings, replace_tokens
from stagewright.errors import Reason, StagewrightError


def config(tmp_path: Path, *texts: str) -> tuple[CatalystConfig, list[StagewrightError]]:
    files = []
    for number, text in enumerate(texts):
        files.append(tmp_path / f"catalyst{number}.conf")
        files[-1].write_text(text, encoding="utf-8")
    problems: list[StagewrightError] = []
    return read_config(files, problems), problems


def test_later_files_override_earlier_ones_and_defaults(tmp_path: Path) -> None:
    found, problems = config(
        tmp_path,
        'storedir = "/srv/one"\njobs = 4\nload-average = 3.5\noptions = ["pkgcache", "kerncache"]\n',
        'storedir = "/srv/two/"\ncompression_mode = "pixz"\ndigests = ["blake2b"]\n',
    )
    assert problems == []
    expected = CatalystConfig(
        storedir="/srv/two/", compression_mode="pixz", digests=["blake2b"], options=["pkgcache", "kerncache"]
    )
    assert found == expected
    assert found.builds == "/srv/two/builds"
    assert config(tmp_path)[0] == CatalystConfig("/var/tmp/catalyst", "/usr/share/catalyst", "gentoo", "lbzip2")


def test_unknown_digests_are_rejected(tmp_path: Path) -> None:
    found, problems = config(tmp_path, 'digests = ["sha512", "blake3b"]\ndigest_format = "dos"\n')
    assert found == CatalystConfig()
    assert [(item.reason, str(item.place).rpartition("conf")[2]) for item in problems] == [
        (Reason.INVALID_VALUE, ":1:22"),
        (Reason.INVALID_VALUE, ":2:17"),
    ]


def test_all_errors_are_reported(tmp_path: Path) -> None:
    text = 'storedirr = "/x"\njobs = "4"\ncompression_mode = "zip"\ndigests = [1]\nbinhost = 1\n'
    found, problems = config(tmp_path, text, "storedir = \n")
    assert found == CatalystConfig()
    assert [(item.reason, item.place.line, item.place.column) for item in problems if item.place] == [
        (Reason.UNKNOWN_KEY, 1, 1),
        (Reason.INVALID_VALUE, 2, 8),
        (Reason.INVALID_VALUE, 3, 20),
        (Reason.INVALID_VALUE, 4, 11),
        (Reason.INVALID_VALUE, 5, 11),
        (Reason.SYNTAX, 1, 12),
    ]
    assert "'storedir'" in problems[0].hint


def test_an_unknown_option_is_noted_with_the_nearest_one(tmp_path: Path) -> None:
    file = tmp_path / "catalyst.conf"
    file.write_text('options = ["pkgcach", "pkgcache"]\n', encoding="utf-8")
    problems: list[StagewrightError] = []
    notices: list[Notice] = []
    assert read_config([file], problems, notices).options == ["pkgcach", "pkgcache"]
    assert problems == []
    assert [notice.place.column for notice in notices] == [12]
    assert "pkgcach " in notices[0].text
    assert "'pkgcache'" in notices[0].text


def test_settings_are_replaced_in_texts_after_all_files_are_read(tmp_path: Path) -> None:
    found, problems = config(
        tmp_path,
        'repos_storedir = "%(storedir)s/git"\ndistdir = "%(storedir)s/%(repo_name)s"\nbinhost = "https://e.org/100%%/"\n',
        'storedir = "/srv/two"\n',
    )
    assert problems == []
    assert (found.repos_storedir, found.distdir) == ("/srv/two/git", "/srv/two/gentoo")
    assert found.binhost == "https://e.org/100%/"


@pytest.mark.parametrize("text", ["%(nothing)s", "100%"])
def test_a_percent_sign_without_a_setting_is_an_error_at_its_place(tmp_path: Path, text: str) -> None:
    _, problems = config(tmp_path, f'repo_name = "gentoo"\ndistdir = "{text}"\n')
    assert [(item.reason, item.place.line, item.place.column) for item in problems if item.place] == [
        (Reason.INVALID_VALUE, 2, 11)
    ]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("pixz", "tar.xz"), ("lbzip2", "tar.bz2"), ("zstd", "tar.zst"), ("squashfs_xz", "squashfs"), ("zip", None)],
)
def test_compression_modes_have_endings(mode: str, expected: str | None) -> None:
    assert ending(mode) == expected


AUTO = """\
# a comment
UPLOAD_USER=me   # and one more
host=$(hostname)
source ${REPO_DIR}/tools/common

SETS="
\tone
\ttwo
"
SET_one_SPECS="stage1.spec stage3.spec"
SET_one_OPTIONAL_SPECS="live.spec \\
  more.spec"
SET_two_SPECS='two.spec'
SET_two_SPECS+=" ${ARCH}.spec $ARCH"
NOTHING=

post_build() {
\tSETS="not this"
\tcase x in
\t*) echo "}" ;;
\tesac
}
short() { SETS=nor this; }
if true; then SETS=x; fi
"""


def auto(tmp_path: Path, text: str, **given: str) -> tuple[AutoConf, list[StagewrightError], list[Notice]]:
    (tmp_path / "tools").mkdir(exist_ok=True)
    (tmp_path / "tools" / "common").write_text("SPECS_DIR=${REPO_DIR}/specs\nARCH=amd64\n", encoding="utf-8")
    file = tmp_path / "tools" / "a.conf"
    file.write_text(text, encoding="utf-8")
    problems: list[StagewrightError] = []
    notices: list[Notice] = []
    return read_auto(file, given, problems, notices), problems, notices


def test_data_is_read_and_nothing_is_run(tmp_path: Path) -> None:
    conf, problems, notices = auto(tmp_path, AUTO)
    assert problems == []
    assert conf.specs_dir == tmp_path / "specs"
    one, two = conf.sets
    assert [word for word, _ in two.specs] == ["two.spec", "amd64.spec", "amd64"]
    assert [word for word, _ in one.specs] == ["stage1.spec", "stage3.spec"]
    assert [word for word, _ in one.optional] == ["live.spec", "more.spec"]
    assert one.specs[0][1].line == 10
    assert conf.variables["NOTHING"].value == ""
    assert [(item.place.line, item.text.partition(": ")[2]) for item in notices] == [
        (3, "host=$(hostname)"),
        (24, "if true; then SETS=x; fi"),
    ]


def test_files_of_other_machines_are_noticed(tmp_path: Path) -> None:
    _, problems, notices = auto(tmp_path, 'source /nowhere/at/all\nSPECS="a.spec"\n')
    assert problems == []
    assert [item.place.line for item in notices] == [1]


def test_single_quotes_prevent_expansion(tmp_path: Path) -> None:
    conf, problems, _ = auto(tmp_path, AUTO.replace("'two.spec'", "'${ARCH}.spec'").replace("SPECS+=", "OTHER="))
    assert conf.variables["SET_two_SPECS"].value == "${ARCH}.spec"
    assert [problem.reason for problem in problems] == [Reason.INVALID_VALUE, Reason.UNKNOWN_NAME]


def test_given_values_override_the_file(tmp_path: Path) -> None:
    (tmp_path / "else" / "tools").mkdir(parents=True)
    (tmp_path / "else" / "tools" / "common").write_text("", encoding="utf-8")
    text = "ARCH=x86\nSPECS_DIR=$REPO_DIR/${ARCH}\nsource ${REPO_DIR}/tools/common\n"
    conf, problems, _ = auto(tmp_path, text, ARCH="arm", REPO_DIR=str(tmp_path / "else"))
    assert problems == []
    assert conf.specs_dir == tmp_path / "else" / "arm"


def test_specs_without_a_set_name_are_a_set(tmp_path: Path) -> None:
    conf, _, _ = auto(tmp_path, 'SPECS="a.spec"\n')
    assert [(group.name, group.specs[0][0]) for group in conf.sets] == [("", "a.spec")]
    assert conf.specs_dir == tmp_path / "tools"


WRONG = {
    "only bash knows": ('SETS="a"\nSET_a_SPECS="$X.spec"\n', Reason.INVALID_VALUE, 2),
    "a set without specs": ('X=1\nSETS="a"\n', Reason.UNKNOWN_NAME, 2),
    "a file that is not there": ("\nsource $REPO_DIR/tools/nothing\n", Reason.MISSING_FILE, 2),
    "a file that sources itself": ("source ${REPO_DIR}/tools/a.conf\n", Reason.CYCLE, 1),
}


@pytest.mark.parametrize(("text", "reason", "line"), WRONG.values(), ids=WRONG)
def test_errors_have_a_place(tmp_path: Path, text: str, reason: Reason, line: int) -> None:
    problem = auto(tmp_path, text)[1][0]
    assert problem.reason is reason
    assert problem.place
    assert problem.place.line == line
    assert problem.hint


@pytest.mark.parametrize(
    "text", ['X="', "f() {", "f() {\n}", "a=(", "=", "\\", "'", "source", "X=$", "${", "}", "\x00"]
)
def test_invalid_bash_raises_nothing(tmp_path: Path, text: str) -> None:
    auto(tmp_path, text)
    auto(tmp_path, f"SETS=a\n{text}\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("SETS=x", True), ("# a\nsource x", True), ('storedir = "/x"', False), ("f() {\n}", True), ("", False)],
)
def test_files_of_catalyst_auto_are_recognized(tmp_path: Path, text: str, expected: bool) -> None:
    (tmp_path / "x.conf").write_text(text, encoding="utf-8")
    assert looks_like_auto(tmp_path / "x.conf") is expected


def test_tokens_with_values_are_replaced() -> None:
    values = parse_settings(["TIMESTAMP=20260628T164555Z", "REPO_DIR=/srv/releng"])
    assert replace_tokens("a-@TIMESTAMP@-@TREEISH@", values) == "a-20260628T164555Z-@TREEISH@"
    assert replace_tokens("@REPO_DIR@/@REPO_DIR@", values) == "/srv/releng//srv/releng"
    assert replace_tokens("user@host", values) == "user@host"


@pytest.mark.parametrize("word", ["X", "=x", "X=", "1=x", "X=a b", "X=a#b", "X=a:b", "X=50%", 'X="a"'])
def test_values_that_are_not_valid_in_specs_are_rejected(word: str) -> None:
    with pytest.raises(StagewrightError) as caught:
        parse_settings([word])
    assert caught.value.reason is Reason.USAGE


@pytest.mark.parametrize("text", ["@TIMESTAMP@", "20260628T164555Z", "20260628", "2026.1", "@DATESTAMP@"])
def test_stamps_are_recognized(text: str) -> None:
    assert STAMP.fullmatch(text)


ODD = st.sampled_from(
    [*"AB= \"'$(){}\\\n#;\x00", "SETS=", "SET_A_SPECS=", "source ", "${", "$A", "f() {", "\n}\n", "+=", "x" * 300]
)


@examples(deadline=None)  # a busy machine can be slow
@given(st.lists(ODD, max_size=40).map("".join))
def test_any_text_is_read_without_exceptions(text: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        auto(Path(name), text)


def test_every_setting_and_option_has_an_effect_or_a_reason_why_not() -> None:
    assert _SETTINGS.keys() - _USED == UNUSED.keys()
    assert set(_OPTIONS) - UNUSED_OPTIONS.keys() == {"pkgcache"}


def notices_of(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "catalyst.conf"
    file.write_text(text, encoding="utf-8")
    problems: list[StagewrightError] = []
    notices: list[Notice] = []
    read_config([file], problems, notices)
    assert problems == []
    return [f"{notice.place.line}:{notice.place.column} {notice.text.partition(':')[0]}" for notice in notices]


def test_settings_without_effect_are_named_at_their_places(tmp_path: Path) -> None:
    text = """\
storedir = "/srv"
envscript = "/etc/catalyst/catalystrc"
jobs = 4
repo_basedir = "/var/db/repos"
target_distdir = "/srv/distfiles"
options = ["pkgcache", "bindist", "ccache"]
"""
    assert sorted(notices_of(tmp_path, text)) == [
        "2:1 envscript has no effect",
        "3:1 jobs has no effect",
        "5:1 target_distdir has no effect",  # repo_basedir is the default of results
        "6:24 options",
        "6:35 options",
    ]
    assert notices_of(tmp_path, 'storedir = "/srv"\noptions = ["pkgcache"]\nfsscript_network = true\n') == []
