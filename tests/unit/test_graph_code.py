"""The digest of a kind's code: it changes with the code that builds the kind, and with nothing else."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import stagewright
from stagewright.graph.code_digest import NEUTRAL, closure_of, code_digest
from stagewright.kinds.registry import by_kind, module_of

PACKAGE = Path(stagewright.__file__).parent

ANSWER = """
import json, os, sys
from pathlib import Path
from stagewright.graph.code_digest import code_digest
from stagewright.kinds.registry import by_kind, module_of

known, kinds = Path("facts.json"), {kind: module_of(kind) for kind in by_kind()}
for _ in sys.stdin:
    if os.fork() == 0:
        facts = json.loads(known.read_text()) if known.exists() else {}
        def recall(path, info, fact, find):
            name = f"{path} {info.st_mtime_ns} {info.st_size} {fact}"
            if name not in facts:
                facts[name] = find()
            return facts[name]
        print(json.dumps({kind: code_digest(module, recall) for kind, module in kinds.items()}), flush=True)
        known.write_text(json.dumps(facts))
        os._exit(0)
    os.wait()
"""
"""Prints the digests of all kinds for each line of its input; a child that has found nothing yet finds them."""


class Copy:
    """A copy of the package that a test can change, and a process that imports it and finds its digests."""

    def __init__(self, folder: Path) -> None:
        self.package = folder / "stagewright"
        shutil.copytree(PACKAGE, self.package)  # with its compiled modules, which are as old as their sources
        self._process = subprocess.Popen(
            [sys.executable, "-B", "-c", ANSWER],
            cwd=folder,
            env={"PYTHONPATH": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.before = self.digests()

    def digests(self) -> dict[str, str]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: dict[str, str] = json.loads(self._process.stdout.readline())
        assert set(found) == set(by_kind())
        return found

    def changed(self, *names: str, text: str = "\nCHANGED = 1\n") -> set[str]:
        """Return the kinds whose digest changes with some files of the package; every change is undone."""
        files = [self.package / name for name in names]
        old = {file: file.read_text(encoding="utf-8") if file.exists() else None for file in files}
        for file, content in old.items():
            file.write_text((content or "") + text, encoding="utf-8")
        try:
            after = self.digests()
        finally:
            for file, content in old.items():
                file.unlink() if content is None else file.write_text(content, encoding="utf-8")
        return {kind for kind in self.before if self.before[kind] != after[kind]}

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    made = Copy(tmp_path_factory.mktemp("code"))
    yield made
    assert made.digests() == made.before
    made.close()


@pytest.mark.slow
def test_a_kind_changes_with_its_own_module(copy: Copy) -> None:
    assert "tarball" in copy.changed("kinds/artifacts/tarball.py")
    assert copy.changed("kinds/artifacts/tarball.py") == {"tarball"}


@pytest.mark.slow
def test_all_kinds_change_with_what_they_all_use(copy: Copy) -> None:
    assert copy.changed("kinds/common/base.py") == set(by_kind())
    assert copy.changed("root/root.py") == set(by_kind())


def test_kinds_change_with_the_scripts_that_run_inside_roots(copy: Copy) -> None:
    assert {"binhost", "embedded", "stage1"} <= copy.changed("portage/data/verify_binpkgs.py")


def test_kinds_change_with_what_they_import_however_far_away(copy: Copy) -> None:
    packages = copy.changed("portage/emerge_output.py")
    assert {"embedded", "livecd-stage1", "livecd-stage2"} <= packages
    assert not {"file", "tarball", "boots"} & packages


def test_kinds_change_with_the_data_of_their_packages(copy: Copy) -> None:
    assert copy.changed("media/templates/loader.conf") >= {"livecd-stage3"}
    assert copy.changed("seeds/data/fetch-debsrc") >= {"bootstrap"}
    assert not copy.changed("media/templates/loader.conf") & {"file", "tarball"}


def test_no_kind_changes_with_how_work_is_arranged_and_shown(copy: Copy) -> None:
    names = ("cli/main.py", "ui/plain.py", "engine/scheduler.py", "store/store.py", "project/load.py", "errors.py")
    assert copy.changed(*names) == set()


@pytest.mark.slow
def test_no_kind_changes_with_comments_and_docstrings(copy: Copy) -> None:
    old, total = {}, 0
    for file in copy.package.rglob("*.py"):
        if (file.parent / "__init__.py").exists():  # other files are scripts that run inside roots: data
            old[file] = file.read_text(encoding="utf-8"), file.stat().st_mtime_ns
            text, count = reworded(old[file][0])
            file.write_text(text, encoding="utf-8")
            total += count
    try:
        assert total > 2500
        assert copy.digests() == copy.before
    finally:
        for file, (text, changed) in old.items():
            file.write_text(text, encoding="utf-8")
            os.utime(file, ns=(changed, changed))


def reworded(text: str) -> tuple[str, int]:
    """A module with other words, more lines and more blank lines in every docstring and comment, and their number."""
    lines = text.splitlines(keepends=True)
    spans = [
        (
            (node.lineno, node.col_offset),
            (node.end_lineno or 0, node.end_col_offset or 0),
            f'"""Other\n\nwords {node.lineno}.\n"""',
        )
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    spans += [
        (token.start, token.end, "# other words\n\n  # and more")
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    ]
    for (first, left), (last, right), words in sorted(spans, reverse=True):
        start = lines[first - 1].encode()[:left].decode() if words[0] == '"' else lines[first - 1][:left]
        end = lines[last - 1].encode()[right:].decode() if words[0] == '"' else lines[last - 1][right:]
        lines[first - 1 : last] = [start + words + end]
    return "".join(lines), len(spans)


def test_kinds_change_with_comments_of_what_becomes_part_of_results(copy: Copy) -> None:
    assert copy.changed("media/templates/grub.cfg", text="\n# changed\n") >= {"livecd-stage3"}
    assert copy.changed("portage/data/verify_binpkgs.py", text="\n# changed\n") >= {"stage1"}


def test_no_kind_changes_with_what_running_leaves(copy: Copy) -> None:
    (copy.package / "kinds" / "__pycache__").mkdir(exist_ok=True)
    assert copy.changed("kinds/__pycache__/base.cpython-311.pyc.140234") == set()


def test_the_digest_of_unchanged_code_is_recalled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stagewright.graph.code_digest._MODULES", {})
    facts: dict[tuple[Path, str], str] = {}
    asked: list[str] = []

    def recall(path: Path, info: os.stat_result, fact: str, find: Callable[[], str]) -> str:
        asked.append(fact)
        if (path, fact) not in facts:
            facts[path, fact] = find()
        return facts[path, fact]

    first = code_digest(module_of("tarball"), recall)
    assert len(asked) > 20
    asked.clear()
    assert code_digest(module_of("tarball"), recall) == first == code_digest(module_of("tarball"))
    assert len(asked) == 1


def test_links_of_editors_and_loops_change_nothing(copy: Copy) -> None:
    (copy.package / ".#run.py").symlink_to("user@host.1:2")
    (copy.package / "root" / "loop").symlink_to(".")
    (copy.package / "again").symlink_to("root")
    assert copy.changed("root/packet_filter.py", text="") == set()
    for name in (".#run.py", "root/loop", "again"):
        (copy.package / name).unlink()


@pytest.mark.parametrize("kind", sorted(by_kind()))
def test_the_closure_holds_modules_with_a_say(kind: str) -> None:
    closure = closure_of(module_of(kind))
    assert module_of(kind) in closure
    assert "stagewright.kinds.common.base" in closure
    assert not {name.split(".")[1] for name in closure} & NEUTRAL


@pytest.mark.slow
def test_the_whole_package_of_a_kind_from_elsewhere_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "elsewhere_kinds"
    (package / "inner" / "data").mkdir(parents=True)
    (package / "inner" / "data" / "script").touch()
    texts = {
        "__init__": "",
        "kind": "import json\nfrom . import part\nfrom .inner.deep import X\nfrom stagewright.root import root\n",
        "part": "",
        "inner/__init__": "",
        "inner/deep": "from ..other import Y\nfrom stagewright.store import store\n",
        "other": "",
        "unused": "",
    }
    for name, text in texts.items():
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    closure = closure_of("elsewhere_kinds.kind")
    mine = {name.removeprefix("elsewhere_kinds").lstrip(".") for name in closure if "stagewright" not in name}
    assert mine == {"", "kind", "part", "inner", "inner.deep", "other"}
    assert "stagewright.root.root" in closure
    assert "stagewright.store.store" not in closure


OF_BILLS = {
    *(
        f"stagewright.release.{name}"
        for name in ("bill", "channel", "components", "cyclonedx", "documents", "generated")
    ),
    *(
        f"stagewright.release.{name}"
        for name in ("file_list", "license_texts", "sources", "spdx", "spdx_licenses", "subject")
    ),
    *("stagewright.portage.ebuild_facts", "stagewright.portage.licenses"),
}
"""Modules that make bills of materials and decide on licences."""


def test_bills_and_licences_are_in_no_key_of_what_they_describe() -> None:
    """A changed message of the licence gate must not compile a kernel again."""
    having = {kind for kind in by_kind() if OF_BILLS & closure_of(module_of(kind))}
    assert having == {"bill", "release"}
