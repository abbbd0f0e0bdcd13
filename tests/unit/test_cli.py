"""The command line: what it prints, and the exit code of everything that can go wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import starter

from stagewright.cli.commands import summary_of
from stagewright.cli.main import COMMANDS, group, run
from stagewright.errors import Exit
from stagewright.kinds.registry import by_kind
from stagewright.project.model import folder_digest

PROJECT = """
format = 1
[project]
name = "small"
version = "1"
source_date_epoch = 2026-11-20
[seeds.base]
file = "seed.tar"
[stages.live]
kind = "livecd-stage1"
root = "base"
root_overlay = ["overlay"]
[stages.pack]
kind = "tarball"
root = "live"
"""

ROW = {
    "type": "object",
    "required": ["node", "kind", "state", "key", "inputs", "first", "why"],
    "properties": {
        "node": {"type": "string"},
        "kind": {"enum": list(by_kind())},
        "state": {"enum": ["cached", "build", "not needed"]},
        "key": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "inputs": {"type": "object", "additionalProperties": {"type": "string"}},
        "first": {"type": "boolean"},
        "why": {"type": "array", "items": {"type": "object", "required": ["entry", "old", "new"]}},
    },
}


@dataclass
class Said:
    """The output of a command, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of a tarball, a live root and a tarball of that."""
    folder = tmp_path / "project"
    (folder / "overlay" / "etc").mkdir(parents=True)
    with tarfile.open(folder / "seed.tar", "w") as seed:
        seed.add(folder / "overlay", "etc")
    (folder / "stagewright.toml").write_text(PROJECT, encoding="utf-8")
    return folder


@pytest.fixture
def cli(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The command, in this process."""

    def call(*words: str) -> Said:
        capsys.readouterr()
        code = run(["-C", str(project), "--store", str(tmp_path / "store"), *words])
        return Said(code, *capsys.readouterr())

    return call


def program(*words: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a separate process."""
    done = starter.run(*words, cwd=cwd, env=env)
    return subprocess.CompletedProcess(words, done.returncode, done.stdout.decode(), done.stderr.decode())


# help, and words that are not commands


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(cli: Callable[..., Said], command: str, option: str) -> None:
    said = cli(*filter(None, [command, option]))
    assert (said.code, said.err) == (Exit.OK, "")
    assert "Usage: stagewright" in said.out
    assert all(name in said.out for name in (COMMANDS if not command else [command]))


@pytest.mark.parametrize("words", [[], ["catalyst"], ["netboot"], ["media"]], ids=str)
def test_a_list_of_commands_has_their_summaries(words: list[str]) -> None:
    found: Any = group
    for word in words:
        found = found.get_command(click.Context(found), word)
    for name, module in found.modules.items():
        command = found.get_command(click.Context(found), name)
        assert command.get_short_help_str(999) == click.Command(name, help=summary_of(module)).get_short_help_str(999)


@pytest.mark.parametrize("words", [[], ["catalyst"], ["netboot"], ["media"]], ids=str)
def test_summaries_of_commands_fit_their_line(cli: Callable[..., Said], words: list[str]) -> None:
    _, _, commands = cli(*words, "--help").out.partition("Commands:\n")
    assert commands
    assert "..." not in commands


def test_a_bare_command_lists_the_targets_of_the_project(cli: Callable[..., Said]) -> None:
    said = cli()
    assert said.code == Exit.OK
    assert re.search(r"^  pack +tarball +to build +stagewright build pack$", said.out, re.MULTILINE)
    assert "stagewright help " in said.out


def test_a_bare_command_outside_of_a_project_shows_its_help(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-C", str(tmp_path)]) == Exit.OK
    assert "Usage: stagewright" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["--version", "-V", "version"])
def test_version(cli: Callable[..., Said], word: str) -> None:
    assert re.fullmatch(r"stagewright, version \d+\.\d+.*\n", cli(word).out)


def test_the_help_of_a_command_by_name(cli: Callable[..., Said]) -> None:
    assert cli("help").out == cli("--help").out
    assert cli("help", "build").out == cli("build", "--help").out
    assert cli("help", "netboot", "serve").out == cli("netboot", "serve", "--help").out
    for words in (["biuld"], ["build", "it"]):
        said = cli("help", *words)
        assert (said.code, "unknown command" in said.err) == (Exit.INVALID, True)


@pytest.mark.slow
def test_help_reads_no_project(tmp_path: Path) -> None:
    assert program("plan", "--help", cwd=tmp_path).returncode == Exit.OK


def test_a_misspelt_command_names_the_nearest(cli: Callable[..., Said]) -> None:
    said = cli("biuld")
    assert said.code == Exit.INVALID
    assert "'build'" in said.err
    assert not said.out


@pytest.mark.parametrize(
    "words",
    [
        ["plan", "--no-such"],
        ["graph", "--as", "painting"],
        ["build", "--progress", "loud"],
        ["build", "--cores", "0"],
        ["log"],
        ["boot"],
        ["plan", "stage-that-is-not"],
        ["build", "stage-that-is-not"],
        ["graph", "stage-that-is-not"],
        ["log", "stage-that-is-not"],
        ["shell", "stage-that-is-not"],
        ["kinds", "kind-that-is-not"],
        ["update", "seed-that-is-not"],
        ["update", "base"],
        ["log", "live"],
        ["boot", "pack"],
    ],
    ids=" ".join,
)
def test_mistakes_on_the_command_line(cli: Callable[..., Said], words: list[str]) -> None:
    said = cli(*words)
    assert said.code == Exit.INVALID
    assert said.err
    assert "Traceback" not in said.err


# projects with mistakes


def test_every_command_reports_all_mistakes_of_a_project(cli: Callable[..., Said], project: Path) -> None:
    text = PROJECT.replace("root_overlay", "root_overlai").replace('"seed.tar"', '"none.tar"')
    (project / "stagewright.toml").write_text(text, encoding="utf-8")
    for words in (["check"], ["plan"], ["build"], ["graph"], ["gc"], ["log", "live"], ["shell", "live"], ["doctor"]):
        said = cli(*words)
        assert said.code == Exit.INVALID, words
        assert f"{project}/stagewright.toml:8:8: " in said.err
        assert f"{project}/stagewright.toml:12:1: " in said.err
        assert said.err.count("hint: ") == 2
        assert "Traceback" not in said.err


def test_outside_a_project(tmp_path: Path) -> None:
    done = program("plan", cwd=tmp_path, STAGEWRIGHT_STORE=str(tmp_path / "store"))
    assert done.returncode == Exit.INVALID
    assert "hint: " in done.stderr
    assert not (tmp_path / "store").exists()


def test_a_project_is_found_from_a_folder_in_it(project: Path, tmp_path: Path) -> None:
    done = program("check", cwd=project / "overlay" / "etc", STAGEWRIGHT_STORE=str(tmp_path / "store"))
    assert (done.returncode, done.stderr) == (0, "")


# exit codes


def test_a_store_of_another_format(cli: Callable[..., Said], tmp_path: Path) -> None:
    cli("gc", "-n")
    (tmp_path / "store" / "format").write_text("0", encoding="utf-8")
    assert cli("plan").code == Exit.STORE


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: mounting needs root")
def test_a_full_disk(project: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    mounts = 'mount -t tmpfs -o size=16k none "$1" && exec "$2" -m stagewright -C "$3" --store "$1/store" build'
    words = ["unshare", "--mount", "sh", "-c", mounts, "sh", tmp_path / "full", sys.executable, project]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == Exit.STORE, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: becoming nobody needs root")
def test_without_rights(cli: Callable[..., Said]) -> None:
    """A user without rights to a folder finds no project there. With a project, only plans need no store."""
    cli("plan")
    os.seteuid(65534)
    try:
        hidden = cli("plan")
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            (Path(folder) / "stagewright.toml").write_text('format = 1\n[project]\nname = "p"\n', encoding="utf-8")
            words = ["-C", folder, "--store", "/var/lib/stagewright-test"]
            codes = [run([*words, "plan"]), run([*words, "gc", "-n"])]
    finally:
        os.seteuid(0)
    assert hidden.code == Exit.INVALID
    assert "Traceback" not in hidden.err
    assert codes == [Exit.OK, Exit.HOST]


def test_a_defect_shows_its_traceback(cli: Callable[..., Said], tmp_path: Path) -> None:
    """A store with edited meta data is reported as a defect, because its cause is unknown."""
    cli("gc", "-n")
    broken = tmp_path / "store" / "projects" / "x.json"
    broken.write_text('{"project": 3}', encoding="utf-8")
    said = cli("gc", "-n")
    assert said.code == Exit.BUG
    assert "Traceback" in said.err


def test_a_reader_that_goes_away_is_not_an_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with starter.memory() as errors:
        child = starter.start("schema", cwd=tmp_path, stdout=writer, stderr=errors)
        os.close(writer)
        assert os.read(reader, 1) == b"{"  # the rest does not fit into the pipe
        os.close(reader)
        assert (child.wait(), starter.content(errors)) == (Exit.OK, b"")


def test_interrupted(project: Path, tmp_path: Path) -> None:
    log = tmp_path / "store" / "logs" / f"small-{folder_digest(project)}" / "live" / "1.log"
    log.parent.mkdir(parents=True)
    log.write_text("a line\n", encoding="utf-8")
    reader, writer = os.pipe()
    with starter.memory() as errors, open(reader, encoding="utf-8") as output:
        words = ["-C", project, "--store", tmp_path / "store", "log", "-f", "live"]
        child = starter.start(*words, cwd=tmp_path, stdout=writer, stderr=errors)
        os.close(writer)
        assert output.readline() == "a line\n"
        child.kill(signal.SIGINT)
        assert child.wait(timeout=30) == Exit.INTERRUPTED
        assert b"Traceback" not in starter.content(errors)


# commands


def test_check(cli: Callable[..., Said]) -> None:
    said = cli("check")
    assert said.code == Exit.OK
    assert "small 1: 1 seed, 2 stages, 3 nodes" in said.out


def test_plan_of_a_first_build(cli: Callable[..., Said]) -> None:
    said = cli("plan")
    assert said.code == Exit.OK
    assert [line.split() for line in said.out.splitlines()] == [
        ["seed:base", "build", "never", "built"],
        ["live", "build", "never", "built"],
        ["pack", "build", "never", "built"],
        ["3", "to", "build,", "0", "cached"],
    ]


def test_plan_of_one_stage(cli: Callable[..., Said]) -> None:
    assert cli("plan", "live").out.splitlines()[-1] == "2 to build, 0 cached"


def test_plan_as_json(cli: Callable[..., Said]) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="NOT TESTED: jsonschema is not installed")
    data: dict[str, Any] = json.loads(cli("plan", "--json").out)
    assert data["project"] == "small"
    assert data["targets"] == ["live", "pack"]
    assert [row["node"] for row in data["nodes"]] == ["seed:base", "live", "pack"]
    for row in data["nodes"]:
        jsonschema.validate(row, ROW)


def test_plan_with_keys(cli: Callable[..., Said]) -> None:
    keys = json.loads(cli("plan", "--keys").out)
    rows = {row["node"]: row for row in json.loads(cli("plan", "--json").out)["nodes"]}
    assert keys.keys() == rows.keys()
    assert keys["live"]["inputs"] == {"root": rows["seed:base"]["key"]}
    assert keys["live"]["files"].keys() == {"overlay"}
    assert keys["pack"]["tools"].keys() >= {"tar"}


def test_planning_writes_nothing_into_the_project(cli: Callable[..., Said], project: Path) -> None:
    before = sorted(project.rglob("*"))
    for words in (["check"], ["plan"], ["graph"], ["gc", "-n"], ["clean", "-n"], ["doctor"]):
        cli(*words)
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize(
    ("picture", "head"),
    [
        ("text", "seed:base  "),
        ("mermaid", "flowchart LR\n"),
        ("dot", "digraph stagewright {\n"),
        ("json", "[\n"),
        ("svg", "<?xml"),
    ],
)
def test_graph(cli: Callable[..., Said], picture: str, head: str) -> None:
    said = cli("graph", "--as", picture)
    assert said.code == Exit.OK
    assert said.out.startswith(head)
    assert "tarball" in said.out


def test_a_graph_without_a_format_is_a_tree_that_people_can_read(cli: Callable[..., Said]) -> None:
    assert cli("graph").out == cli("graph", "--as", "text").out


def test_graph_of_one_stage(cli: Callable[..., Said]) -> None:
    assert [row["node"] for row in json.loads(cli("graph", "--as", "json", "live").out)] == ["seed:base", "live"]


def test_schema(cli: Callable[..., Said], tmp_path: Path) -> None:
    assert json.loads(cli("schema").out)["$schema"].endswith("2020-12/schema")
    assert program("schema", cwd=tmp_path).returncode == Exit.OK  # needs no project


def test_kinds(cli: Callable[..., Said]) -> None:
    said = cli("kinds")
    assert all(name in said.out for name, model in by_kind().items() if model.table)


@pytest.mark.parametrize("kind", sorted(name for name, model in by_kind().items() if model.table))
def test_the_settings_of_a_kind(cli: Callable[..., Said], kind: str) -> None:
    said = cli("kinds", kind)
    assert said.code == Exit.OK
    names = [info.alias or name for name, info in by_kind()[kind].model_fields.items()]
    assert all(re.search(rf"^\s*{name}\b", said.out, re.MULTILINE) for name in names)


def test_collecting_and_cleaning_of_nothing(cli: Callable[..., Said]) -> None:
    assert cli("gc", "-n").out == "would free 0 B\n"
    assert cli("gc").out == "freed 0 B\n"
    assert cli("clean", "-n").out == "would free 0 B\n"
    assert cli("clean").out == "freed 0 B\n"


def test_collecting_and_cleaning_print_json(cli: Callable[..., Said], project: Path, tmp_path: Path) -> None:
    cli("gc", "-n")
    store = tmp_path / "store"
    failed = store / "failed" / f"small-{folder_digest(project)}" / "live"
    work = store / "work" / "key.1234"
    seed = store / "cache" / "seeds" / "abc"
    for folder in (failed, work, seed):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x" * 5000, encoding="utf-8")
    os.utime(seed, (0, 0))
    for command, path in (("clean", failed), ("gc", seed)):
        would = json.loads(cli(command, "-n", "--json").out)
        assert [item["path"] for item in would["items"]] == [str(path)]
        assert would["dry_run"]
        assert would["size"] == would["items"][0]["size"] >= 5000
        assert path.exists()
        assert would["items"][0]["what"]
        done = json.loads(cli(command, "--json").out)
        assert done["items"] == would["items"]
        assert not done["dry_run"]
        assert done["size"] >= 5000
        assert not path.exists()
        if command == "clean":
            assert (would["interrupted"], done["interrupted"]) == ([], [str(work)])


def test_cleaning_of_interrupted_work(cli: Callable[..., Said], tmp_path: Path) -> None:
    cli("gc", "-n")
    work = tmp_path / "store" / "work" / "key.1234"
    work.mkdir()
    assert cli("clean", "-n").code == Exit.OK
    assert work.exists()
    assert cli("clean").code == Exit.OK
    assert not work.exists()


def test_logs(cli: Callable[..., Said], project: Path, tmp_path: Path) -> None:
    said = cli("log", "live")
    assert said.code == Exit.INVALID
    assert "hint: " in said.err
    folder = tmp_path / "store" / "logs" / f"small-{folder_digest(project)}" / "live"
    folder.mkdir(parents=True)
    for number, name in enumerate(["old", "new"]):
        (folder / f"{name}.log").write_text(f"{name}\n", encoding="utf-8")
        os.utime(folder / f"{name}.log", (number, number))
    assert cli("log", "live").out == "new\n"
    assert [Path(line).name for line in cli("log", "--list", "live").out.splitlines()] == ["old.log", "new.log"]
    listed = json.loads(cli("log", "--list", "--json", "live").out)
    assert [(Path(log["path"]).name, log["size"], log["changed"]) for log in listed] == [
        ("old.log", 4, 0),
        ("new.log", 4, 1),
    ]
    assert cli("log", "--json", "live").code == Exit.INVALID


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("stagewright bu", ["build"]),
        ("stagewright build ", ["base", "live", "pack"]),
        ("stagewright build l", ["live"]),
        ("stagewright plan --j", ["--json"]),
        ("stagewright graph --as m", ["mermaid"]),
        ("stagewright shell pa", ["pack"]),
    ],
)
def test_completion(project: Path, words: str, expected: list[str]) -> None:
    done = program(
        cwd=project,
        _STAGEWRIGHT_COMPLETE="bash_complete",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split()) - (not words.endswith(" "))),
    )
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == expected


def test_completion_never_disturbs(tmp_path: Path) -> None:
    done = program(cwd=tmp_path, _STAGEWRIGHT_COMPLETE="bash_complete", COMP_WORDS="stagewright build ", COMP_CWORD="2")
    assert (done.stdout.strip(), done.stderr) == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(tmp_path: Path, shell: str) -> None:
    done = program(cwd=tmp_path, _STAGEWRIGHT_COMPLETE=f"{shell}_source")
    assert "_STAGEWRIGHT_COMPLETE" in done.stdout


@pytest.mark.slow
def test_a_project_of_many_stages(cli: Callable[..., Said], project: Path) -> None:
    stages = [
        f'[stages.s{number}]\nkind = "livecd-stage1"\nroot = "{f"s{number // 2}" if number > 1 else "base"}"\n'
        f'root_overlay = ["overlay"]\nrm = ["/{number}"]\n'
        for number in range(1, 500)
    ]
    (project / "stagewright.toml").write_text(PROJECT.partition("[stages.live]")[0] + "".join(stages), encoding="utf-8")
    nodes = json.loads(cli("plan", "--json").out)["nodes"]
    assert len(nodes) == 500
    assert len({row["key"] for row in nodes}) == 500


def test_kinds_as_json(cli: Callable[..., Said]) -> None:
    rows = {row["kind"]: row for row in json.loads(cli("kinds", "--json").out)}
    assert {"stage4", "mirror", "boots", "release"} <= rows.keys()
    assert rows["stage4"]["table"] == "stages"
    (row,) = json.loads(cli("kinds", "stage4", "--json").out)
    assert row == rows["stage4"]
    assert row["settings"][0]["name"] == "root"
    assert all(item.keys() == {"name", "default", "text"} for item in row["settings"])
