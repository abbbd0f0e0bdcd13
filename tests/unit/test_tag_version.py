"""`tools/tag_version.py`: a version is tagged only if all places name it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools.tag_version import DEBIAN, EBUILDS, problems, tag


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that can be tagged as 1.2."""
    texts = {
        "src/stagewright/__init__.py": '__version__ = "1.2"\n',
        "CHANGELOG.md": "# Changes\n\n## 1.2\n\n- a new thing\n\n## 1.1\n\n- an old thing\n",
        DEBIAN: "stagewright (1.2) unstable; urgency=medium\n",
        f"{EBUILDS}/stagewright-1.2.ebuild": "EAPI=8\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "config", "user.name", "larry")
    git(tmp_path, "config", "user.email", "larry@example.org")
    commit(tmp_path)
    return tmp_path


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message=x")


def test_a_tag_has_the_section_of_the_changelog(checkout: Path) -> None:
    assert list(problems(checkout)) == []
    assert tag(checkout, sign=False) == "v1.2"
    message = git(checkout, "tag", "--list", "--format=%(contents)", "v1.2")
    assert message.strip() == "Stagewright 1.2\n\n- a new thing"
    assert git(checkout, "cat-file", "-t", "v1.2").strip() == "tag"
    assert "the tag v1.2 exists" in "\n".join(problems(checkout))


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("CHANGELOG.md", "# Changes\n\n## Unreleased\n\n- x\n", "CHANGELOG.md"),
        ("CHANGELOG.md", "# Changes\n\n## 1.2\n\n## 1.1\n\n- x\n", "CHANGELOG.md"),
        (DEBIAN, "stagewright (1.1) unstable; urgency=medium\n", DEBIAN),
        ("src/stagewright/__init__.py", '__version__ = "1.3"\n', "stagewright-1.3.ebuild"),
    ],
)
def test_a_place_with_another_version_is_named(checkout: Path, file: str, text: str, said: str) -> None:
    (checkout / file).write_text(text, encoding="utf-8")
    assert "the tree has changes" in next(problems(checkout))
    commit(checkout)
    assert said in "\n".join(problems(checkout))
