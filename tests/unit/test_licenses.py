"""Licences of packages against ACCEPT_LICENSE."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagewright.errors import Reason, StagewrightError
from stagewright.portage.dependency_text import as_text, parse, reduced
from stagewright.portage.licenses import Accepted, expand, license_groups

GROUPS = {
    "GPL-COMPATIBLE": ("GPL-2", "MIT", "@LOOP"),
    "LOOP": ("@GPL-COMPATIBLE", "BSD"),
    "FREE": ("@GPL-COMPATIBLE", "Apache-2.0"),
}


@pytest.mark.parametrize(
    ("text", "use", "missing"),
    [
        ("GPL-2", "", []),
        ("GPL-2 MIT", "", []),
        ("GPL-2 proprietary", "", ["proprietary"]),
        ("|| ( GPL-2 proprietary )", "", []),
        ("|| ( proprietary other )", "", ["proprietary", "other"]),
        ("|| ( ( GPL-2 proprietary ) MIT )", "", []),
        ("|| ( ( GPL-2 proprietary ) other )", "", ["proprietary", "other"]),
        ("codecs? ( proprietary ) GPL-2", "", []),
        ("codecs? ( proprietary ) GPL-2", "codecs", ["proprietary"]),
        ("!codecs? ( proprietary )", "codecs", ["no-license"]),
        ("!codecs? ( proprietary )", "", ["proprietary"]),
        ("|| ( codecs? ( proprietary MIT ) other )", "codecs", ["proprietary", "other"]),
        ("|| ( codecs? ( GPL-2 MIT ) other )", "codecs", []),
        ("GPL-2 || ( codecs? ( MIT ) )", "", ["__const__/empty-any-of"]),
        ("", "", ["no-license"]),
        ("GPL-2 (", "", ["GPL-2 ("]),
        ("GPL-2 ) ", "", ["GPL-2 ) "]),
    ],
)
def test_what_a_license_lacks_to_be_accepted(text: str, use: str, missing: list[str]) -> None:
    assert Accepted(expand(["@FREE"], GROUPS)).missing(text, use.split()) == missing


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("codecs? ( proprietary )", []),
        ("proprietary codecs? ( GPL-2 )", ["proprietary"]),
        ("|| ( proprietary codecs? ( GPL-2 ) )", []),
    ],
)
def test_without_use_flags_only_what_always_holds_counts(text: str, missing: list[str]) -> None:
    assert Accepted(["GPL-2"]).missing(text) == missing


@pytest.mark.parametrize(
    ("words", "accepted"),
    [
        ("@FREE", "GPL-2 MIT BSD Apache-2.0"),
        ("* -@GPL-COMPATIBLE", "Apache-2.0 proprietary"),
        ("@FREE -* MIT", "MIT"),
        ("-MIT @FREE", "GPL-2 MIT BSD Apache-2.0"),
        ("* -proprietary", "GPL-2 MIT BSD Apache-2.0"),
        ("", ""),
    ],
)
def test_a_word_overrides_the_words_before_it(words: str, accepted: str) -> None:
    found = Accepted(expand(words.split(), GROUPS))
    names = ["GPL-2", "MIT", "BSD", "Apache-2.0", "proprietary"]
    assert [name for name in names if found.accepts(name)] == accepted.split()


def test_an_unknown_group_is_reported_with_the_nearest_name() -> None:
    with pytest.raises(StagewrightError) as caught:
        expand(["@FREEE"], GROUPS)
    assert caught.value.reason is Reason.UNKNOWN_NAME
    assert "FREE" in caught.value.hint


def test_groups_of_several_repositories_are_joined(tmp_path: Path) -> None:
    for name, text in (("a", "# the groups\nFREE GPL-2 @MISC # free\n\nMISC MIT\n"), ("b", "FREE own-license\n")):
        (tmp_path / name / "profiles").mkdir(parents=True)
        (tmp_path / name / "profiles/license_groups").write_text(text, encoding="utf-8")
    found = license_groups([tmp_path / name for name in ("a", "b", "missing")])
    assert found == {"FREE": ("GPL-2", "@MISC", "own-license", "debian-main", "debian-contrib"), "MISC": ("MIT",)}


def test_texts_are_read_and_written() -> None:
    text = "a || ( b !c? ( d ) ( e f ) ) g? ( h )"
    assert as_text(parse(text)) == text
    assert as_text(reduced(parse(text), {"c"})) == "a || ( b ( e f ) )"
    assert as_text(reduced(parse("|| ( x? ( a ) ) ( b )"), ())) == "|| ( __const__/empty-any-of ) b"


@pytest.mark.parametrize("text", ["( a", "a )", "x? a", "|| a", "( " * 60 + ") " * 60, "a " * 200_000])
def test_a_text_that_is_not_balanced_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(text)
