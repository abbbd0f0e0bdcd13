"""Files that shells source: a real shell and Python's own reader give back every value that was written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from drafts import Draft
from hypothesis import example, given, settings
from hypothesis import strategies as st
from roots import in_sandbox

from stagewright.errors import Reason
from stagewright.kinds.registry import kinds
from stagewright.root.sourced import IDENTIFIERS, assignments, titled_os_release, values_of, with_assignments

HARD = ['My "OS" costs $5', "`id`", "$(id)", "\\", 'a\\"b', "it's", "", " x ", "#x", "größe\u2028\x85", "${HOME}", "!!"]

CONTROL = "".join(map(chr, [*range(32), 127]))
LINES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=CONTROL))
SHELLS = [shell for shell in ("sh", "bash", "dash", "busybox") if shutil.which(shell)]


def named(values: list[str]) -> dict[str, str]:
    return {f"V{number}": value for number, value in enumerate(values)}


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=40, deadline=None)
@given(st.lists(LINES, min_size=1))
@example(HARD)
def test_a_shell_reads_the_values_back(shell: str, values: list[str]) -> None:
    variables = named(values)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
        file.write(assignments(variables))
        file.flush()
        shown = " ".join(f'"${name}"' for name in variables)
        command = [*([shell, "sh"] if shell == "busybox" else [shell]), "-c", f". {file.name}; printf '%s\\0' {shown}"]
        read = subprocess.run(command, capture_output=True, check=True)
    assert read.stdout.decode().split("\0")[:-1] == values
    assert read.stderr == b""


@pytest.mark.slow
@in_sandbox
@settings(max_examples=10, deadline=None)
@given(st.lists(LINES, min_size=1))
@example(HARD)
def test_python_reads_the_values_of_os_release_back(values: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "os-release").write_text(assignments(named(values)), encoding="utf-8")
        script = "import json, platform; print(json.dumps(platform.freedesktop_os_release()))"
        binds = ["--bind", "/", "/", "--tmpfs", "/etc", "--ro-bind", f"{folder}/os-release", "/etc/os-release"]
        read = subprocess.run(["bwrap", *binds, sys.executable, "-c", script], capture_output=True, check=True)
    found = json.loads(read.stdout)
    assert [found[name] for name in named(values)] == values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, 'A="1"\n'),
        ("", 'A="1"\n'),
        ("B=2", 'B=2\nA="1"\n'),
        ("# A\nA=0\n\nB=2\n A = x\n", '# A\n\nB=2\nA="1"\n'),
        ("B='a\u2028A=1'\n", "B='a\u2028A=1'\nA=\"1\"\n"),
    ],
)
def test_a_variable_is_set_once_and_other_lines_stay(text: str | None, expected: str) -> None:
    assert with_assignments(text, {"A": "1"}) == expected
    assert with_assignments(expected, {"A": "1"}) == expected


@pytest.mark.parametrize(
    "entry",
    ['"lower-case" = §"x"', '"A B" = §"x"', '"1A" = §"x"', 'NAME = §"two\\nlines"', 'NAME = §"bell\\u0007"'],
)
def test_an_os_release_entry_that_cannot_be_written_is_reported_at_its_place(tmp_path: Path, entry: str) -> None:
    (tmp_path / "seed.tar").touch()
    text = f'[seeds.s]\nfile = "seed.tar"\n[stages.a]\nkind = "stage4"\nroot = "s"\nos_release = {{ {entry} }}\n'
    (problem,) = Draft(tmp_path, kinds=kinds()).write(text).check(Reason.INVALID_VALUE)
    assert "os_release" in problem.message


def test_identifiers_of_a_system_are_read() -> None:
    text = 'ID=gentoo\nNAME=\'A B\'\nVERSION_ID="2.18" # x\nBUILD_ID=\'broken\nID_LIKE=two words\nIMAGE_ID="a\tb"\n'
    found = values_of(text, IDENTIFIERS)
    assert found == {"ID": "gentoo", "VERSION_ID": "2.18"}
    made = titled_os_release("A title", found)
    assert made == 'ID="gentoo"\nVERSION_ID="2.18"\nNAME="A title"\nPRETTY_NAME="A title"\n'
    assert titled_os_release("A title", {}).startswith('ID="linux"\n')
