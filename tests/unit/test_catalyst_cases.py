"""Inputs that were once read differently than by Catalyst, if available. Other tests have inputs of their kinds.

This repository does not contain them. ``STAGEWRIGHT_CATALYST_CASES`` names their folder. The default is
``shared/cases/catalyst`` next to the checkout.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stagewright.catalyst.catalyst_conf import UNUSED, UNUSED_OPTIONS
from stagewright.catalyst.convert.target_entries import MODES
from stagewright.cli.main import run
from stagewright.dropin.main import main
from stagewright.dropin.project import Loaded, load_release
from stagewright.errors import Exit, Reason
from stagewright.kinds.registry import kinds
from stagewright.kinds.stages import stage1
from stagewright.project.load import load

BESIDE = Path(__file__).parents[3] / "shared" / "cases" / "catalyst"
CASES = Path(os.environ.get("STAGEWRIGHT_CATALYST_CASES") or BESIDE)

pytestmark = pytest.mark.skipif(
    not CASES.is_dir(), reason=f"NOT TESTED: no cases in {CASES}; name their folder by STAGEWRIGHT_CATALYST_CASES"
)


def read(case: str, *conf: Path) -> Loaded:
    return load_release([CASES / case], conf, {}, {})


def data(loaded: Loaded, name: str) -> dict[str, object]:
    return next(draft.data for draft in loaded.converted.drafts if draft.name == name)


def catalyst(store: Path, *words: object) -> int:
    return run(["--store", str(store), "catalyst", *map(str, words)])


def test_a_long_volume_id_is_cut_with_a_note() -> None:
    loaded = read("volid")
    assert loaded.release.errors == loaded.model_problems() == []
    image = data(loaded, "livecd-stage2-amd64-x")
    assert image["volume_id"] == "Pentoo Linux Core x86_64 2026.0"
    assert any("cut to 32 characters" in notice.text for notice in loaded.notices)


def test_the_drop_in_has_configs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (CASES / "cli-configs/cmd").read_text(encoding="utf-8").partition("#")[0].split()[1:]
    conf = tmp_path / "catalyst.conf"
    conf.write_text(f'storedir = "{tmp_path}"\n', encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        main([str(conf) if word == "catalyst.conf" else word for word in [*words, "--offline"]])
    assert end.value.code == 1  # of a repository that is missing
    assert f"{tmp_path}/repos/gentoo.git" in capsys.readouterr().out


def test_changed_subslot_is_not_merged() -> None:
    assert data(read("changed-subslot"), "stage1-amd64-x")["update_seed_command"] == ["-uDN", "@world"]
    assert "@changed-subslot" not in Path(stage1.__file__).read_text(encoding="utf-8")


def test_every_setting_of_a_configuration_is_named(tmp_path: Path) -> None:
    conf = CASES / "conf-silent/catalyst.conf"
    named = [notice.text.partition(" has no effect")[0] for notice in read("conf-silent", conf).notices]
    text = conf.read_text(encoding="utf-8")
    assert sorted(name for name in named if name in UNUSED) == sorted(name for name in UNUSED if f"{name} =" in text)
    options = {name.removeprefix("options: ") for name in named if name.startswith("options: ")}
    assert options == {option for option in UNUSED_OPTIONS if f'"{option}"' in text}


def test_results_keep_files_of_the_confdir() -> None:
    found = data(read("confdir-ships"), "diskimage-stage1-amd64-x")
    assert found["ship_confdir"] is True
    assert "confdir_prefix" not in found


def test_what_convert_writes_can_be_loaded(tmp_path: Path) -> None:
    assert catalyst(tmp_path / "store", "convert", CASES / "convert-twice", "-o", tmp_path / "out") == Exit.OK
    assert len(load(tmp_path / "out", kinds(), lenient=True).entries["stages"]) == 12


def test_a_kernel_that_cannot_start_a_medium_leaves_out_the_medium_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert catalyst(tmp_path / "store", "plan", CASES / "live-config", "--json") == Exit.INVALID
    plan = json.loads(capsys.readouterr().out)
    left_out = {Path(error["place"]["file"]).name: error for error in plan["left_out"]}
    assert left_out.keys() == {"live.spec", "live-sparc64.spec"}
    assert left_out["live.spec"]["message"].startswith(
        f"boot/kernel/gentoo/config: {(CASES / 'live-config/kernel.config').absolute()}"
    )
    assert left_out["live-sparc64.spec"]["reason"] == Reason.NOT_SUPPORTED
    assert "stage1-amd64-y" in {node["node"] for node in plan["nodes"]}
    assert catalyst(tmp_path / "store", "convert", CASES / "live-config", "-o", tmp_path / "out") == Exit.INVALID
    assert "stage1-amd64-y" in load(tmp_path / "out", kinds(), lenient=True).entries["stages"]


def test_a_seed_with_a_stamp_is_accepted() -> None:
    assert read("seed-with-stamp").release.errors == []


def test_two_trees_are_one_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees = [CASES / "two-trees" / name for name in ("native", "qemu")]
    for command in ("graph", "check"):
        assert run(["catalyst", command, *map(str, trees)]) == Exit.OK
        assert "is also made by" in capsys.readouterr().err
    assert catalyst(tmp_path / "store", "plan", *trees) == Exit.INVALID


def test_a_snapshot_without_a_signature_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stagewright-catalyst").write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'from stagewright.dropin.main import main; main()' \"$@\"\n",
        encoding="utf-8",
    )
    (tmp_path / "stagewright-catalyst").chmod(0o755)
    script = tmp_path / "run.sh"
    shutil.copyfile(CASES / "unsigned-snapshot/run.sh", script)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    said = subprocess.run(["sh", script], env=env, capture_output=True, text=True, check=True, timeout=120).stdout
    assert said.splitlines()[-1] == "exit 1"
    assert not list(tmp_path.rglob("*.sqfs"))


def test_the_menu_of_live_media_has_three_lines_for_each_kernel() -> None:
    assert (CASES / "livecd-menu/README").is_file()
    assert data(read("volid"), "livecd-stage2-amd64-x")["entries"] == list(MODES) == ["ram", "speech"]
