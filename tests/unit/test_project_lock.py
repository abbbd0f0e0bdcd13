"""``stagewright.lock``: a written lock is read back, and a damaged lock is rejected."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from drafts import Draft
from hypothesis import given
from hypothesis import strategies as st

from stagewright.errors import Reason, StagewrightError
from stagewright.project.lock import LAST_EPOCH, Lock

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
TREE = f"git-tree:{'0' * 40}"
VALUES = st.recursive(
    st.one_of(TEXT, st.integers(-(2**60), 2**60), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=5,
)


@given(st.integers(0, LAST_EPOCH), st.dictionaries(TEXT, st.dictionaries(TEXT, VALUES, max_size=3), max_size=3))
def test_a_written_lock_is_read_back(epoch: int, seeds: dict[str, dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lock = Lock(Path(folder) / "stagewright.lock", epoch, seeds)
        lock.file.write_text(lock.text(), newline="", encoding="utf-8")
        again = Lock.load(Path(folder))
    assert again == lock
    assert again.text() == lock.text()


def test_without_a_lock_the_time_stamp_is_the_current_time(tmp_path: Path) -> None:
    lock = Lock.load(tmp_path)
    assert lock.epoch > 1700000000
    assert not lock.seeds
    assert not lock.file.exists()


def test_pins_are_sorted_by_name_with_one_value_per_line(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "stagewright.lock", 0, {"b": {"packages": ["x=1", "y=2"]}}).with_seed("a", {"request": "1"})
    assert [line for line in lock.text().splitlines() if line.startswith(("[", " "))] == [
        '[seeds."a"]',
        '[seeds."b"]',
        '    "x=1",',
        '    "y=2",',
    ]


def test_seeds_and_repositories_are_pinned(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "stagewright.lock", 0, {"s": {"request": "1"}})
    lock = lock.with_pin("repos", "r", {"request": "2", "tree": TREE})
    lock.file.write_text(lock.text(), encoding="utf-8")
    again = Lock.load(tmp_path)
    assert again == lock
    assert again.pins("repos") == {"r": {"request": "2", "tree": TREE}}
    assert lock.text().index("[repos.") < lock.text().index("[seeds.")


def test_a_lock_of_the_former_format_is_read(tmp_path: Path) -> None:
    file = tmp_path / "stagewright.lock"
    file.write_text('format = 1\nsource_date_epoch = 5\n[seeds."a"]\nrequest = "1"\n', encoding="utf-8")
    lock = Lock.load(tmp_path)
    assert (lock.epoch, dict(lock.seeds), dict(lock.repos)) == (5, {"a": {"request": "1"}}, {})
    assert "format = 2" in lock.text()


def test_the_lock_gives_the_time_stamp_unless_the_project_does(draft: Draft) -> None:
    (draft.folder / "stagewright.lock").write_text("format = 1\nsource_date_epoch = 5\n", encoding="utf-8")
    assert draft.write("").load().epoch == 5
    draft.write("", head="format = 1\n[project]\nname = 'p'\nsource_date_epoch = 0\n")
    assert draft.load().epoch == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Reason.FORMAT),
        ("format = 3\nsource_date_epoch = 1", Reason.FORMAT),
        ("format = 2\nsource_date_epoch = 1\nrepos = { a = {} }", Reason.FORMAT),
        ("format = 2\nsource_date_epoch = 1\nrepos = { a = { tree = 'git-tree:../..' } }", Reason.FORMAT),
        ("format = 1", Reason.FORMAT),
        ("format = 1\nsource_date_epoch = 'now'", Reason.FORMAT),
        ("format = 1\nsource_date_epoch = true", Reason.FORMAT),
        ("format = 1\nsource_date_epoch = -1", Reason.FORMAT),
        ("format = 1\nsource_date_epoch = 99999999999999", Reason.FORMAT),
        ("format = 1\nsource_date_epoch = 1\nseeds = 3", Reason.FORMAT),
        ("format = 1\nsource_date_epoch = 1\nseeds = { a = 3 }", Reason.FORMAT),
        ("<<<<<<< HEAD\nformat = 1", Reason.SYNTAX),
    ],
)
def test_a_damaged_lock_is_rejected(draft: Draft, text: str, reason: Reason) -> None:
    draft.write("")
    (draft.folder / "stagewright.lock").write_text(text, encoding="utf-8")
    with pytest.raises(StagewrightError) as caught:
        draft.load()
    assert caught.value.reason is reason
    assert caught.value.hint
    assert caught.value.place
    assert caught.value.place.file.name == "stagewright.lock"
    assert caught.value.place.line == 1


BAD_REPOSITORIES = {
    "a commit that is an option": 'commit = "--upload-pack=touch /tmp/x"',
    "half a commit": 'commit = "0123abc"',
    "a number for a commit": f"commit = {'9' * 40}",
    "a file outside of the cache": 'file = "/etc/cron.d/x"',
    "a file above the folder": 'file = ".."',
    "a digest with a path": f'sha512 = "../{"0" * 125}"',
    "a date in words": 'date = "yesterday"',
}


@pytest.mark.parametrize("case", BAD_REPOSITORIES)
def test_pins_of_repositories_have_a_form(tmp_path: Path, case: str) -> None:
    """Their entries become words of commands and names of files."""
    text = f'format = 2\nsource_date_epoch = 1\n[repos.r]\ntree = "{TREE}"\n{BAD_REPOSITORIES[case]}\n'
    (tmp_path / "stagewright.lock").write_text(text, encoding="utf-8")
    with pytest.raises(StagewrightError) as caught:
        Lock.load(tmp_path)
    assert caught.value.reason is Reason.FORMAT
