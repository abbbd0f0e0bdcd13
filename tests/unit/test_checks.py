"""Tests of stages that start a root, and that have a stage build itself: what a project may say of them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.graph.node import Node, Yields
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.registry import graph_of, kinds
from stagewright.kinds.tests.rebuilds import RebuildContext, RebuildTest, _keep_flags, _rebuilt, _seconds
from stagewright.kinds.tests.starts import StartTest
from stagewright.portage.installed import recorded_files
from stagewright.project.load import load
from stagewright.root.root import Root
from stagewright.vm.console import Console
from stagewright.vm.container import _Terminal, nspawn

PROJECT = """
format = 1
[project]
name = "p"
version = "1"
[repos.main]
path = "repo"
[repos.other]
path = "repo"
[seeds.seed]
file = "seed.tar"
[stages.system]
kind = "stage2"
root = "seed"
profile = "x"
repos = ["main"]
confdir = ["confdir"]
use = ["one", "-two"]
make_conf = { CFLAGS = "-O1" }
[stages.pack]
kind = "tarball"
root = "system"
"""

STARTS = '[tests.t]\nstarts = "system"\n'
REBUILDS = '[tests.t]\nrebuilds = "system"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("repo/profiles/x", "confdir"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "seed.tar").touch()
    return tmp_path


def node(folder: Path, text: str) -> Node:
    (folder / "stagewright.toml").write_text(PROJECT + text, encoding="utf-8")
    return graph_of(load(folder, kinds())).nodes["test:t"]


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        ('[tests.t]\nstarts = "sytem"\nexpect = ["x"]', Reason.UNKNOWN_NAME, "sytem"),
        (STARTS + 'expect = ["("]', Reason.INVALID_VALUE, "regular expression"),
        (
            STARTS + 'expect = ["x"]\ncommands = [{ run = "x", expect = "[" }]',
            Reason.INVALID_VALUE,
            "regular expression",
        ),
        (STARTS, Reason.INVALID_VALUE, "checks nothing"),
        (STARTS + "poweroff = true", Reason.INVALID_VALUE, "checks nothing"),
        (STARTS + 'expect = ["x"]\ntimeout = 0', Reason.INVALID_VALUE, "timeout"),
        (STARTS + 'expect = ["x"]\nattach = "cd"', Reason.UNKNOWN_KEY, "attach"),
        (
            '[tests.t]\nstarts = "pack"\nexpect = ["x"]',
            Reason.INVALID_VALUE,
            "must name a stage that makes a root ('pack' makes files)",
        ),
        ('[tests.t]\nrebuilds = "nothing"', Reason.UNKNOWN_NAME, "nothing"),
        ('[tests.t]\nrebuilds = "seed"', Reason.UNKNOWN_NAME, "seed"),
        (REBUILDS + 'packages = ["gcc"]', Reason.BAD_ATOM, "gcc"),
        (REBUILDS + 'profile = "y"', Reason.UNKNOWN_KEY, "profile"),
        (
            '[tests.t]\nrebuilds = "pack"',
            Reason.INVALID_VALUE,
            "must name a stage that makes a root ('pack' makes files)",
        ),
        (
            '[tests.t]\nboots = "system"\nexpect = ["x"]',
            Reason.INVALID_VALUE,
            "must name a stage that makes an ISO or disk image ('system' makes a root)",
        ),
        (
            '[stages.t]\nkind = "tarball"\nroot = "pack"',
            Reason.INVALID_VALUE,
            "must name a stage that makes a root ('pack' makes files)",
        ),
        (REBUILDS + 'starts = "system"', Reason.UNKNOWN_KIND, "starts"),
        (
            '[stages.t]\nkind = "embedded"\nroot = "seed"\nprofile = "x"\nunmerge = ["a/b"]',
            Reason.INVALID_VALUE,
            "unmerge: not supported by kind embedded",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_built(folder: Path, text: str, reason: Reason, said: str) -> None:
    with pytest.raises(StagewrightError) as caught:
        node(folder, text)
    problem = caught.value.problems[0] if isinstance(caught.value, ProblemsError) else caught.value
    assert problem.reason is reason
    assert said in str(problem)
    assert problem.place
    assert problem.place.line > PROJECT.count("\n")


def test_all_stages_that_do_not_do_are_named_at_once(folder: Path) -> None:
    text = '[tests.t]\nrebuilds = "pack"\n[tests.u]\nstarts = "pack"\nexpect = ["x"]'
    with pytest.raises(ProblemsError) as caught:
        node(folder, text)
    assert len(caught.value.problems) == 2


def test_a_start_takes_a_stage_or_a_seed(folder: Path) -> None:
    assert node(folder, STARTS + 'expect = ["x"]').inputs == {"starts": "system"}
    made = node(folder, '[tests.t]\nstarts = "seed"\nexpect = ["x"]')
    assert made.inputs == {"starts": "seed:seed"}
    assert made.yields is Yields.ARTIFACT
    assert StartTest.contained


def test_a_rebuild_has_the_settings_of_its_stage(folder: Path) -> None:
    made = node(folder, REBUILDS + 'packages = ["sys-devel/gcc", "@system"]')
    stage = graph_of(load(folder, kinds())).nodes["system"]
    assert made.inputs == {"root": "system"}
    same = ("profile", "repos", "confdir", "use", "make_conf")
    assert isinstance(made.context, RebuildContext) and isinstance(stage.context, PackageContext)
    portage = made.context.portage
    assert all(getattr(portage, name) == getattr(stage.settings, name) for name in same)
    assert portage.binpkgs is False
    assert isinstance(made.settings, RebuildTest)
    assert made.settings.packages == ["sys-devel/gcc", "@system"]
    assert made.files == stage.files
    assert made.context.repos == stage.context.repos
    assert made.place
    assert made.place.line > PROJECT.count("\n")
    assert made.settings.rebuilds == "system"


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("stage4", ""),
        ("livecd-stage1", ""),
        ("livecd-stage2", 'loaders = ["grub"]'),
        ("netboot", 'kernels.a = { tree = "/usr/src/linux", build = "genkernel" }'),
    ],
)
def test_a_profile_needs_the_repositories_also_without_packages(folder: Path, kind: str, settings: str) -> None:
    text = f'{STARTS}expect = ["x"]\n[stages.one]\nkind = "{kind}"\nroot = "seed"\n{settings}\n'
    (folder / "stagewright.toml").write_text(f"{PROJECT}{text}", encoding="utf-8")
    assert not graph_of(load(folder, kinds())).nodes["one"].files.repos
    (folder / "stagewright.toml").write_text(f'{PROJECT}{text}profile = "x"\n', encoding="utf-8")
    assert set(graph_of(load(folder, kinds())).nodes["one"].files.repos) == {"main", "other"}
    (folder / "stagewright.toml").write_text(f'{PROJECT}{text}profile = "y"\n', encoding="utf-8")
    with pytest.raises(ProblemsError) as caught:
        load(folder, kinds())
    assert [problem.reason for problem in caught.value.problems] == [Reason.MISSING_FILE]


def test_contents_are_read_whatever_the_names(tmp_path: Path) -> None:
    record = tmp_path / "var/db/pkg/a/b-1"
    record.mkdir(parents=True)
    (record / "CONTENTS").write_text(
        "dir /usr/share/a b\n"
        "obj /usr/share/a b/x -> y 0123456789abcdef0123456789abcdef 17\n"
        "sym /usr/share/link -> a b/x 17\n"
        "fif /run/pipe\n",
        encoding="utf-8",
    )
    assert recorded_files(tmp_path, ["a/b-1", "a/none-1"]) == {
        "a/b-1": {
            "/usr/share/a b": "",
            "/usr/share/a b/x -> y": "0123456789abcdef0123456789abcdef",
            "/usr/share/link": "a b/x",
            "/run/pipe": "",
        },
        "a/none-1": {},
    }


def test_differences_are_reported_by_path() -> None:
    made = _rebuilt("a/b-1", 3, {"/same": "1", "/other": "1", "/gone": ""}, {"/same": "1", "/other": "2", "/new": ""})
    assert (made.differ, made.added, made.removed) == (["/other"], ["/new"], ["/gone"])
    assert not made.equal
    assert _rebuilt("a/b-1", None, {"/x": "1"}, {"/x": "1"}).equal


def test_seconds_come_from_the_log_of_emerge() -> None:
    log = (
        "1763715000: Started emerge on: Nov 21, 2026\n"
        "1763715001:  >>> emerge (1 of 3) a/one-1 to /\n"
        "1763715002:  >>> emerge (2 of 3) a/two-1 to /\n"
        "1763715002:  === (1 of 3) Compiling/Merging (a/one-1::/x/one-1.ebuild)\n"
        "1763715005:  ::: completed emerge (2 of 3) a/two-1 to /\n"
        "1763715011:  ::: completed emerge (1 of 3) a/one-1 to /\n"
        "1763715011:  >>> emerge (3 of 3) a/three-1 to /\n"
    )
    assert _seconds(log) == {"a/one-1": 10, "a/two-1": 3}


@pytest.mark.parametrize("known", ["nothing", "file", "folder"])
def test_each_package_keeps_the_flags_that_it_has(tmp_path: Path, known: str) -> None:
    root, config = tmp_path / "root", tmp_path / "etc"
    record = root / "var/db/pkg/a/b-1"
    record.mkdir(parents=True)
    config.mkdir()
    for name, text in (("PF", "b-1"), ("USE", "amd64 ssl")):
        (record / name).write_text(text + "\n", encoding="utf-8")
    place = config / "package.use"
    if known == "file":
        place.write_text("a/b zlib\n", encoding="utf-8")
    elif known == "folder":
        place.mkdir()
        (place / "mine").write_text("a/b zlib\n", encoding="utf-8")
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: looks into a root, which takes root")
    _keep_flags(config, Root(root, root), ["a/b-1"])
    last = place if known == "file" else sorted(place.iterdir())[-1]
    assert last.read_text(encoding="utf-8").splitlines()[-1] == "=a/b-1 -* amd64 ssl"
    texts = (
        [place.read_text(encoding="utf-8")]
        if known == "file"
        else [path.read_text(encoding="utf-8") for path in place.iterdir()]
    )
    assert known == "nothing" or any(text.startswith("a/b zlib\n") for text in texts)


def test_the_container_gets_no_network_and_asks_no_manager() -> None:
    words = nspawn(Path("/x"))
    assert {"--boot", "--private-network", "--register=no", "--keep-unit", "--directory=/x"} <= set(words)


def test_a_terminal_is_a_console(tmp_path: Path) -> None:
    """A real shell on a pseudoterminal: its words, what is typed, and its end."""
    ours, its = os.openpty()
    shell = subprocess.Popen(
        ["sh", "-c", "echo ready; read word; echo got $word"], stdin=its, stdout=its, close_fds=True
    )
    os.close(its)
    console = Console(_Terminal(ours), tmp_path / "console.log", fate=lambda: "it is over")
    console.expect("ready", 20)
    console.send("this\n")
    console.expect("got this", 20)
    with pytest.raises(StagewrightError) as caught:
        console.expect("more", 20)
    assert "it is over" in caught.value.message
    assert shell.wait(20) == 0
    console.close()
    assert b"got this" in (tmp_path / "console.log").read_bytes()
