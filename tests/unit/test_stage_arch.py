"""Seeds of other architectures in a graph: names of files, tools in keys, pins that stay what they were."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stagewright.arch import Arch, host_machine
from stagewright.errors import ProblemsError
from stagewright.graph.node import Graph, Node
from stagewright.kinds.common.context import ArtifactContext
from stagewright.kinds.registry import by_kind, graph_of, kinds, tool_of
from stagewright.project.load import load

ANOTHER = Arch.ARM64 if host_machine().arch is not Arch.ARM64 else Arch.AMD64
EMULATOR = f"qemu-{ANOTHER.port.qemu}-static"
HEAD = 'format = 1\n[project]\nname = "p"\nversion = "1"\nsource_date_epoch = 2026-11-20\n'

BOOTSTRAP = '[seeds.it]\nbootstrap = "debian"\npackages = ["gcc"]\n'
FILE = '[seeds.it]\nfile = "seed.tar"\n'
STAGES = """
[stages.system]
kind = "livecd-stage1"
root = "it"
[stages.packed]
kind = "tarball"
root = "system"
"""


def graph(folder: Path, text: str, head: str = HEAD) -> Graph:
    (folder / "seed.tar").touch()
    (folder / "stagewright.toml").write_text(head + text, encoding="utf-8")
    return graph_of(load(folder, kinds()))


def name_of(node: Node) -> str:
    assert isinstance(node.context, ArtifactContext)
    return node.context.file_name


def said(arch: str) -> str:
    return f'arch = "{arch}"\n'


@pytest.mark.parametrize("seed", [BOOTSTRAP, FILE])
def test_files_are_called_after_what_the_seed_says(tmp_path: Path, seed: str) -> None:
    mine, other = host_machine().arch, ANOTHER
    assert name_of(graph(tmp_path, seed + STAGES).nodes["packed"]) == f"system-{mine}-1.tar.zst"
    assert name_of(graph(tmp_path, seed + said(other) + STAGES).nodes["packed"]) == f"system-{other}-1.tar.zst"
    head = f'{HEAD}arch = "riscv"\n'
    assert graph(tmp_path, seed, head).nodes["seed:it"].settings.for_key()["arch"] == "riscv"
    assert name_of(graph(tmp_path, seed + STAGES, head).nodes["packed"]) == "system-riscv-1.tar.zst"
    assert name_of(graph(tmp_path, seed + said(other) + STAGES, head).nodes["packed"]) == f"system-{other}-1.tar.zst"


@pytest.mark.parametrize("seed", [BOOTSTRAP, FILE])
def test_only_what_is_said_is_in_the_key(tmp_path: Path, seed: str) -> None:
    """Keys and pins of seeds without the setting stay as they were before it existed."""
    assert "arch" not in graph(tmp_path, seed).nodes["seed:it"].settings.for_key()
    assert graph(tmp_path, seed + said(ANOTHER)).nodes["seed:it"].settings.for_key()["arch"] == ANOTHER


def test_the_emulator_of_a_foreign_bootstrap_is_a_tool(tmp_path: Path) -> None:
    if shutil.which(EMULATOR) is None and shutil.which(EMULATOR.removesuffix("-static")):
        pytest.skip("NOT TESTED: the emulator has another name here")
    assert graph(tmp_path, BOOTSTRAP).nodes["seed:it"].tools == ()
    assert graph(tmp_path, BOOTSTRAP + said(host_machine().arch)).nodes["seed:it"].tools == ()
    assert graph(tmp_path, BOOTSTRAP + said(ANOTHER)).nodes["seed:it"].tools == (EMULATOR,)
    assert graph(tmp_path, FILE + said(ANOTHER)).nodes["seed:it"].tools == ()
    lock = 'format = 1\nsource_date_epoch = 1\n[seeds.it]\nrequest = "0"\npackages = []\n'
    (tmp_path / "stagewright.lock").write_text(lock, encoding="utf-8")
    assert graph(tmp_path, BOOTSTRAP).nodes["seed:it"].tools == ()
    (tmp_path / "stagewright.lock").write_text(lock + said(ANOTHER), encoding="utf-8")  # written on another computer
    assert graph(tmp_path, BOOTSTRAP).nodes["seed:it"].tools == (EMULATOR,)
    assert graph(tmp_path, BOOTSTRAP + said(host_machine().arch)).nodes["seed:it"].tools == ()


def test_names_follow_pins_and_variants(tmp_path: Path) -> None:
    lock = 'format = 1\nsource_date_epoch = 1\n[seeds.it]\nrequest = "0"\npackages = []\n'
    (tmp_path / "stagewright.lock").write_text(lock + said(ANOTHER), encoding="utf-8")
    assert name_of(graph(tmp_path, BOOTSTRAP + STAGES).nodes["packed"]) == f"system-{ANOTHER}-1.tar.zst"
    for word, arch in (("arm64", "arm64"), ("armv7a_hardfp", "arm"), ("i686", "x86"), ("ppc64le", "ppc64")):
        mirror = f'[seeds.it]\nmirror = "https://example.org"\nvariant = "stage3-{word}-systemd"\n'
        assert name_of(graph(tmp_path, mirror + STAGES).nodes["packed"]) == f"system-{arch}-1.tar.zst"


@pytest.mark.parametrize("wrong", ['"aarch64"', '""', "1", "[]"])
def test_an_architecture_is_one_of_gentoo(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ProblemsError) as caught:
        graph(tmp_path, f"{FILE}arch = {wrong}\n")
    (problem,) = caught.value.problems
    assert problem.place and problem.place.line == 8


def test_every_tool_in_a_key_has_a_package(tmp_path: Path) -> None:
    for program in {program for model in by_kind().values() for program in model.key_tools}:
        assert tool_of(program).remedy
    assert "qemu-user-static" in tool_of(EMULATOR).remedy
    assert f"qemu_user_targets_{ANOTHER.port.qemu}]" in tool_of(EMULATOR).remedy
