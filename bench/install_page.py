"""A row of `make install-matrix`: the commands of docs/install.md for a computer, typed into a shell in their order."""

from __future__ import annotations

import os
import re
import sys

import pexpect

from bench.install_lab import INSTALL, LIMIT, LIST, PASSWORD, Lab, answers
from bench.install_media import write_small
from bench.matrix import ROOT

PAGE = ROOT / "docs" / "install.md"

LIVE, INSTALLED = "root@livecd:~# ", "root@box:~# "
"""Prompts of the live system and of the installed one."""

_PROMPT = "typed> "
_FOUND = r"disk = (\S+)\s+size = (\w+)\s"


def commands_of(page: str) -> list[str]:
    """Return the commands for a computer, which are those after a dollar sign."""
    return re.findall(r"^    \$ (.+)$", page, re.MULTILINE)


def type_page(lab: Lab) -> None:
    """Build the CD, install in a virtual machine whose disk is kept, and start that disk: as the page says."""
    *builds, install, start = commands_of(PAGE.read_text(encoding="utf-8"))
    write_small(lab.folder / "examples" / "install")
    shell = _shell(lab)
    try:
        _type_all(lab, shell, builds, install, start)
    finally:
        shell.close(force=True)


def _type_all(lab: Lab, shell: pexpect.spawn[str], builds: list[str], install: str, start: str) -> None:
    for line in builds:
        _finish(lab, shell, line)
    _type(lab, shell, install, LIVE)
    _type(lab, shell, LIST, _FOUND)
    text = answers(disk=_found(shell, 1), size=_found(shell, 2))
    shell.expect_exact(LIVE)
    _type(lab, shell, f"cat > /run/answers << 'END'\n{text}END", LIVE)
    _type(lab, shell, INSTALL, "installed on disk", wrong="error: .*")
    shell.expect_exact(LIVE)
    _finish(lab, shell, "poweroff", status=False)
    _type(lab, shell, start, "box login: ")
    _type(lab, shell, "root", "Password: ")
    _type(lab, shell, PASSWORD, INSTALLED)
    _type(lab, shell, "grep ' / ' /proc/mounts", r"ext4 rw")
    shell.expect_exact(INSTALLED)
    _finish(lab, shell, "poweroff", status=False)
    shell.sendline("exit")
    shell.expect(pexpect.EOF)


def _shell(lab: Lab) -> pexpect.spawn[str]:
    """Start a shell in the row's folder, which has the program as a command and the store of the other rows."""
    programs = lab.folder / "bin"
    programs.mkdir()
    script = programs / "stagewright"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m stagewright "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PS1": _PROMPT, "TERM": "dumb"}
    if lab.store:
        env["STAGEWRIGHT_STORE"] = str(lab.store)
    log = (lab.folder / "console.log").open("w", encoding="utf-8")
    shell = pexpect.spawn(
        "sh", cwd=lab.folder, env=env, encoding="utf-8", codec_errors="replace", timeout=LIMIT, logfile=log
    )
    shell.expect_exact(_PROMPT)
    return shell


def _type(lab: Lab, shell: pexpect.spawn[str], line: str, expected: str, wrong: str = "") -> None:
    """Type a line, and wait for a pattern in what is shown after it. The pattern ``wrong`` ends the row."""
    lab.say(line.splitlines()[0])
    shell.sendline(line)
    found = shell.expect([expected, *([wrong] if wrong else [])])
    assert found == 0, shell.after


def _finish(lab: Lab, shell: pexpect.spawn[str], line: str, *, status: bool = True) -> None:
    """Type a line, and wait until the shell asks for the next one. With ``status``, the command must have succeeded."""
    _type(lab, shell, line, _PROMPT)
    if status:
        _type(lab, shell, "echo ended=$?", r"ended=0\s")
        shell.expect_exact(_PROMPT)


def _found(shell: pexpect.spawn[str], group: int) -> str:
    assert isinstance(shell.match, re.Match)
    return str(shell.match.group(group))
