"""The rule for files of others finds what it should: planted calls in a copy of the packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import file_access

PLANTED = {
    "direct": ("def f(path):\n    return path.read_text()\n", "root/x.py:2: f: .read_text", "use confined.Tree"),
    "walk": ("import os\ndef f(path):\n    return list(os.walk(path))\n", "f: os.walk", "use confined.Tree"),
    "top": ("from pathlib import Path\nPath('/x').unlink()\n", "-: .unlink", "use confined.Tree"),
    "nested": ("def f(path):\n    def g():\n        open(path)\n    g()\n", "f: open", "use confined.Tree"),
    "of a root": ("def listed(root):\n    (root.path / 'x').chmod(1)\n", "listed: .chmod", "a path of a root"),
    "content": (
        "from stagewright.chroot import inside\ndef go(root):\n    inside(root, f)\n"
        "def f():\n    g()\ndef g():\n    open('/x')\n",
        "g: open",
        "a file of a root is opened",
    ),
}


@pytest.mark.parametrize(("text", "where", "why"), PLANTED.values(), ids=PLANTED)
def test_a_planted_access_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, where: str, why: str
) -> None:
    (problem,) = planted(tmp_path, monkeypatch, text)
    assert where in problem and why in problem


def planted(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> list[str]:
    (folder / "root").mkdir()
    (folder / "root/x.py").write_text(text, encoding="utf-8")
    (folder / "list.toml").write_text(
        "[work]\nfunctions = ['root/x:listed']\n[content]\nfunctions = []\n", encoding="utf-8"
    )
    monkeypatch.setattr(file_access, "SOURCE", folder)
    monkeypatch.setattr(file_access, "LIST", folder / "list.toml")
    monkeypatch.setattr(file_access, "PACKAGES", ("root",))
    return [line for line in file_access.problems() if "listed, but" not in line]


def test_looking_inside_a_root_and_calls_of_modules_are_permitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "from stagewright.chroot import inside\nfrom stagewright.root import x as files\n"
        "def go(root):\n    files.exists(root.path, 'x')\n    return inside(root, f)\n"
        "def f():\n    return listed('/x')\ndef listed(path):\n    return path.exists()\n"
    )
    assert planted(tmp_path, monkeypatch, text) == []


def test_an_entry_that_nothing_needs_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(tmp_path, monkeypatch, "")
    assert file_access.problems() == ["root/x:listed: listed, but it does not reach files"]
