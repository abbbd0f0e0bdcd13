"""One bad spec does not stop the others: it is left out with its reason, and the exit code says so."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from releases import HEAD, SPECS, World

from stagewright.catalyst.convert.media_keys import _cut
from stagewright.catalyst.load_release import load as load_specs
from stagewright.cli.main import run
from stagewright.dropin.project import commands
from stagewright.errors import Exit, ProblemsError, Reason
from stagewright.kinds.registry import kinds
from stagewright.project.load import load
from stagewright.store.store import Store

PLAIN = """\
target: stage1
version_stamp: plain-@TIMESTAMP@
source_subpath: 1.0/stage3-amd64-openrc-latest
"""

MEDIUM = """\
target: livecd-stage2
version_stamp: sources
source_subpath: 1.0/stage3-amd64-openrc-latest
livecd/iso: sources.iso
boot/kernel: gentoo
boot/kernel/gentoo/sources: sys-kernel/gentoo-sources
boot/kernel/gentoo/config: files/small.config
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.write("plain", PLAIN)
    world.packages(["sys-kernel/gentoo-sources"])
    return world


def catalyst(world: World, command: str, *words: object) -> int:
    options = [f"--set={name}={value}" for name, value in world.given.items()]
    arguments = ["--store", world.folder / "store", "catalyst", command, world.specs, "--conf", world.conf]
    arguments += [*options, "--repo", f"gentoo={world.repo}", *words]
    return run([str(word) for word in arguments])


def unsuitable_kernel(world: World) -> Path:
    file = world.write("bad", MEDIUM)
    config = "CONFIG_SQUASHFS=y\n# CONFIG_OVERLAY_FS is not set\n"
    (world.specs / "files/small.config").write_text(config, encoding="utf-8")
    return file


def unsuitable_kernel_of_another_architecture(world: World) -> Path:
    unsuitable_kernel(world)
    return world.write("bad", MEDIUM, HEAD.replace("subarch: amd64", "subarch: sparc64"))


def unknown_key(world: World) -> Path:
    return world.write("bad", SPECS["stage4"] + "stage4/pakages: x\n")


def unknown_package(world: World) -> Path:
    file = world.write("bad", SPECS["stage4"])
    (world.repo / "app-misc/plain/plain-1.ebuild").unlink()
    (world.repo / "app-misc/plain").rmdir()
    return file


def refused_key(world: World) -> Path:
    return world.write("bad", SPECS["stage4"] + "keep_repos: gentoo\n")


def missing_file(world: World) -> Path:
    file = world.write("bad", SPECS["stage4"])
    (world.specs / "files/script.sh").unlink()
    return file


def not_text(world: World) -> Path:
    file = world.specs / "bad.spec"
    file.write_bytes(b"target: stage1\nrel_type: \xff\n")
    return file


def invalid_stamp(world: World) -> Path:
    return world.write("bad", PLAIN.replace("plain-@TIMESTAMP@", "@Timestamp@"))


BAD = [
    unsuitable_kernel,
    unsuitable_kernel_of_another_architecture,
    unknown_key,
    unknown_package,
    refused_key,
    missing_file,
    not_text,
    invalid_stamp,
]


@pytest.mark.parametrize("bad", BAD)
def test_plan_leaves_out_a_bad_spec(bad, world: World, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    file = bad(world)
    assert catalyst(world, "plan", "--json") == Exit.INVALID
    plan = json.loads(capsys.readouterr().out)
    assert {node["node"] for node in plan["nodes"]} == {
        "seeds:stage3-amd64-openrc-seed",
        "stage1-amd64-plain",
        "stage1-amd64-plain.tar",
    } or {node["spec"] for node in plan["nodes"]} <= {None, str(world.specs / "plain.spec")}
    assert {error["place"]["file"] for error in plan["left_out"]} == {str(file)}
    assert catalyst(world, "plan", "--strict") == Exit.INVALID
    said = capsys.readouterr()
    assert (said.out, str(file) in said.err) == ("", True)


@pytest.mark.parametrize("bad", BAD)
def test_check_and_plan_have_the_same_exit_code(bad, world: World) -> None:  # type: ignore[no-untyped-def]
    bad(world)
    assert catalyst(world, "check") == catalyst(world, "plan") == Exit.INVALID
    (world.specs / "bad.spec").unlink()
    assert catalyst(world, "check") == catalyst(world, "plan") == Exit.OK


@pytest.mark.parametrize("bad", BAD)
def test_the_rest_is_converted_and_loads(bad, world: World) -> None:  # type: ignore[no-untyped-def]
    bad(world)
    world.seed("1.0/stage3-amd64-openrc-latest.tar.xz")
    world.seed("1.0/stage3-amd64-openrc-20260628T164555Z.tar.xz")
    out = world.folder / "out"
    assert catalyst(world, "convert", "-o", out, "--strict") == Exit.INVALID
    assert not out.exists()
    assert catalyst(world, "convert", "-o", out) == Exit.INVALID
    assert "stage1-amd64-plain" in load(out, kinds()).entries["stages"]


def test_specs_that_are_built_on_a_bad_one_are_left_out(world: World) -> None:
    world.write_all()
    world.write("stage3", SPECS["stage3"] + "frobnicate: x\n")
    found = world.load().usable()
    assert {member.spec.file.stem for member in found.release.members} == {"plain", "stage1"}
    errors = {error.place.file.stem: error for error in found.left_out if error.place}
    assert errors["stage3"].reason is Reason.UNKNOWN_KEY
    assert "stage3.spec is left out" in errors["stage4"].message
    assert "livecd-stage1.spec is left out" in errors["livecd-stage2"].message
    assert found.complete()


def test_a_missing_spec_of_a_set_does_not_stop_the_others(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    conf = world.folder / "auto.conf"
    conf.write_text(
        f'SPECS_DIR={world.specs}\nSETS="s"\nSET_s_SPECS="plain.spec"\nSET_s_OPTIONAL_SPECS="gone.spec"\n',
        encoding="utf-8",
    )
    words = ["--store", world.folder / "store", "catalyst", "plan", "--conf", conf, "--json"]
    assert run([str(word) for word in words]) == Exit.INVALID
    plan = json.loads(capsys.readouterr().out)
    assert [error["reason"] for error in plan["left_out"]] == ["missing-file"]
    assert "stage1-amd64-plain" in {node["node"] for node in plan["nodes"]}


def test_an_invalid_configuration_stops_everything(world: World) -> None:
    world.conf.write_text("frobnicate = 1\n", encoding="utf-8")
    with pytest.raises(ProblemsError) as caught:
        world.load().usable()
    assert [problem.reason for problem in caught.value.problems] == [Reason.UNKNOWN_KEY]


def test_a_missing_seed_leaves_out_its_spec_in_a_build(world: World) -> None:
    world.write("other", PLAIN.replace("plain-", "other-").replace("openrc-latest", "absent-latest"))
    assert not world.load().usable().left_out
    found = world.load().usable(to_build=True)
    assert [error.reason for error in found.left_out] == [Reason.MISSING_FILE]
    assert {member.spec.file.stem for member in found.release.members} == {"plain"}


def test_a_missing_snapshot_concerns_all_specs(world: World) -> None:
    loaded = world.load()
    for path in sorted(world.repo.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    world.repo.rmdir()
    with pytest.raises(ProblemsError):
        loaded.usable(to_build=True)


def test_errors_of_models_name_the_keys_of_specs(world: World) -> None:
    unsuitable_kernel(world)
    (error,) = world.load().model_problems()
    assert error.message.startswith(f"boot/kernel/gentoo/config: {world.specs}/files/small.config ")


def test_nothing_else_of_a_medium_matters_without_media(world: World) -> None:
    unsuitable_kernel_of_another_architecture(world)
    loaded = world.load()
    assert loaded.model_problems() == []
    assert [error.message.partition(":")[0] for error in loaded.converted.refused] == ["subarch"]


def test_two_trees_are_looked_at_together_but_built_apart(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The official specs have some stages twice: built natively, and with emulation."""
    for tree in ("native", "emulated"):
        (world.specs / tree).mkdir()
        world.write(f"{tree}/one", PLAIN.replace("plain", "twin"))
        world.write(f"{tree}/three", SPECS["stage3"].replace("openrc", "twin"))
    (world.specs / "plain.spec").unlink()
    release, graph = load_specs([world.specs], [], {})
    assert not release.errors
    makers = {item.member.spec.file: item for item in graph.results}
    for tree in ("native", "emulated"):
        source = makers[world.specs / tree / "three.spec"].inputs["source"]
        assert source == makers[world.specs / tree / "one.spec"].name
    assert catalyst(world, "check") == Exit.OK
    assert "cannot be built together" in capsys.readouterr().err
    assert run(["catalyst", "graph", str(world.specs)]) == Exit.OK
    assert "is also made by" in capsys.readouterr().err
    assert run(["catalyst", "graph", str(world.specs), "--json"]) == Exit.OK
    assert len(json.loads(capsys.readouterr().out)) == 4
    found = world.load().usable()
    assert {error.reason for error in found.left_out} == {Reason.DUPLICATE_NAME}
    assert {member.spec.file.parent.name for member in found.release.members} == {"emulated"}
    with pytest.raises(ProblemsError):
        world.load().complete()


def test_graph_draws_the_specs_that_have_errors_elsewhere(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    unknown_key(world)
    assert run(["catalyst", "graph", str(world.specs)]) == Exit.INVALID
    said = capsys.readouterr()
    assert "stage1-amd64-plain" in said.out
    assert "pakages" in said.err


def test_a_seed_with_a_stamp_is_not_a_typo_of_what_is_built_on_it(world: World) -> None:
    seed = "source_subpath: 1.0/stage3-amd64-mine-@TIMESTAMP@"
    world.write("plain", PLAIN.replace("plain-@TIMESTAMP@", "mine").replace(PLAIN.splitlines()[2], seed))
    stage3 = SPECS["stage3"].replace("openrc-@TIMESTAMP@", "mine")
    world.write("stage3", stage3)
    release = load_specs([world.specs], [], {})[0]
    assert [notice.text for notice in release.notices if "no spec makes" in notice.text]
    assert not release.problems
    world.write("stage3", stage3.replace("stage1-amd64-mine", "stage1-amd64-other"))  # not built on it
    assert [error.reason for error in load_specs([world.specs], [], {})[0].problems] == [Reason.UNKNOWN_NAME] * 2


VOLUME_IDS = {
    "Pentest Linux Core x86_64 2026.0 p1": "Pentest Linux Core x86_64 2026.0",
    "Gentoo amd64 @DATESTAMP@": "Gentoo amd64 @DATESTAMP@",
    "Gentoo Linux for sparc64 @DATESTAMP@": "Gentoo Linux for sparc64",
    "A @TIMESTAMP@ B @TIMESTAMP@": "A @TIMESTAMP@ B",
    "short": "short",
}


@pytest.mark.parametrize("words", VOLUME_IDS)
def test_volume_ids_of_several_words_are_cut_as_in_catalyst(words: str) -> None:
    assert _cut(words) == VOLUME_IDS[words]


def test_a_volume_id_that_is_cut_is_noted(world: World) -> None:
    world.write("livecd", SPECS["livecd-stage2"].replace("Gentoo amd64 @DATESTAMP@", f"{'word ' * 7}p1"))
    loaded = world.load()
    assert any("cut to 32 characters" in notice.text for notice in loaded.notices)
    image = next(draft for draft in loaded.converted.drafts if draft.name == "livecd-stage2-amd64")
    assert image.data["volume_id"] == ("word " * 7)[:32].rstrip()


def test_hints_of_builds_are_commands_that_work(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Mails of catalyst-auto quote these hints, in a folder without any project."""
    loaded = world.load()
    store = world.folder / "a store"
    loaded.commands = commands([world.specs], [world.conf], world.given, {"gentoo": world.repo}, store)
    project = loaded.complete()
    line = project.hint("log", "stage1-amd64-plain")
    log = Store(store).log_folder(project.records, "stage1-amd64-plain") / "run.log"
    log.parent.mkdir(parents=True)
    log.write_text("all that the commands printed\n", encoding="utf-8")
    program, *words = shlex.split(line)
    assert (program, run(words)) == ("stagewright", Exit.OK)
    assert capsys.readouterr().out == "all that the commands printed\n"
    log.unlink()
    assert run(words) == Exit.INVALID
    assert f"catalyst build {world.specs}" in capsys.readouterr().err


def test_equal_notes_are_printed_once(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        world.write(f"more{number}", PLAIN.replace("plain", f"p{number}") + "binrepo_path: x\n")
    assert catalyst(world, "check") == Exit.OK
    lines = [line for line in capsys.readouterr().err.splitlines() if "binrepo_path" in line]
    assert len(lines) == 1
    assert "3 other places" in lines[0]
