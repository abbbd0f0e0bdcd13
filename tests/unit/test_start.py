"""Modules that a start of the command imports: their imports are most of its time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stagewright.kinds.registry import MODULES, TABLES, kinds

DEMO = Path(__file__).parents[2] / "examples" / "demo"

DOWNLOADS_AND_TERMINALS = ("httpx", "jinja2", "rich", "asyncio", "asyncssh")

NO_PROJECT = (
    *DOWNLOADS_AND_TERMINALS,
    "pydantic",
    "tree_sitter",
    "tomllib",
    "stagewright.engine",
    "stagewright.events",
    "stagewright.graph",
    "stagewright.kinds",
    "stagewright.project",
    "stagewright.store",
)

NO_BUILD = (
    *DOWNLOADS_AND_TERMINALS,
    "configparser",
    "http.client",
    "socketserver",
    "ssl",
    "stagewright.catalyst",
    "stagewright.engine.build",
    "stagewright.engine.doctor",
    "stagewright.engine.fetching",
    "stagewright.engine.makespan",
    "stagewright.engine.rebuild",
    "stagewright.engine.recorded_runs",
    "stagewright.engine.scheduler",
    "stagewright.engine.verify",
    "stagewright.engine.versions",
    "stagewright.engine.worker",
    "stagewright.engine.worker_process",
    "stagewright.kernel.build",
    "stagewright.kernel.configure",
    "stagewright.kinds.artifacts",
    "stagewright.kinds.common.layer",
    "stagewright.kinds.common.lineage",
    "stagewright.kinds.common.mounted_portage",
    "stagewright.kinds.common.online",
    "stagewright.kinds.common.parts",
    "stagewright.kinds.releases",
    "stagewright.kinds.seeds.mirror",
    "stagewright.kinds.stages.stage3",
    "stagewright.kinds.tests.machines",
    "stagewright.media.inspect",
    "stagewright.media.iso",
    "stagewright.portage.binhosts",
    "stagewright.portage.binpkgs",
    "stagewright.portage.emerge",
    "stagewright.portage.emerge_output",
    "stagewright.project.binhost",
    "stagewright.project.part",
    "stagewright.project.remotes",
    "stagewright.project.syntax",
    "stagewright.project.top_level",
    "stagewright.publish",
    "stagewright.reproduce",
    "stagewright.root.download_sandbox",
    "stagewright.root.network",
    "stagewright.root.root",
    "stagewright.seeds.apt",
    "stagewright.seeds.debian",
    "stagewright.seeds.gentoo_keys",
    "stagewright.seeds.tarscan",
    "stagewright.seeds.unpack",
    "stagewright.testing.boot",
    "stagewright.testing.machine",
    "stagewright.vm.accel",
    "stagewright.vm.firmware",
    "stagewright.vm.machine",
    "tarfile",
)

PROGRAM = """\
import sys
from stagewright.cli.main import run
code = run(sys.argv[1:])
print(code, *sorted(sys.modules), file=sys.stderr)
"""


def imported(*words: str) -> tuple[int, set[str]]:
    """Run the command in a new interpreter. Return its exit code, and the modules that it has imported."""
    program = [sys.executable, "-c", PROGRAM, "-C", str(DEMO), *words]
    ended = subprocess.run(program, capture_output=True, text=True, check=True)
    code, *modules = ended.stderr.splitlines()[-1].split()
    return int(code), set(modules)


CASES = {
    "--help": (0, NO_PROJECT),
    "biuld": (2, NO_PROJECT),
    "build --nonsense": (2, NO_PROJECT),
    "plan --nonsense": (2, NO_PROJECT),
    "check --nonsense": (2, NO_PROJECT),
    "check": (0, NO_BUILD),
    "plan": (0, NO_BUILD),
}
"""Exit code, and modules that must not be imported, by the words after the name of the program."""


@pytest.mark.slow
@pytest.mark.parametrize("words", CASES)
def test_a_start_imports_only_what_it_needs(words: str, tmp_path: Path) -> None:
    code, unwanted = CASES[words]
    found, modules = imported("--store", str(tmp_path), *words.split())
    assert found == code
    assert "stagewright.cli.main" in modules
    assert [name for name in sorted(modules) if any(f"{name}.".startswith(f"{one}.") for one in unwanted)] == []


@pytest.mark.slow
def test_the_table_of_modules_has_every_kind_and_no_other() -> None:
    program = """\
import importlib, pkgutil, stagewright.kinds
from stagewright.kinds.common.base import Stage
for module in pkgutil.walk_packages(stagewright.kinds.__path__, "stagewright.kinds."):
    importlib.import_module(module.name)
for table, models in Stage.registry.items():
    for kind, model in models.items():
        print(table or "internal", kind, model.__module__)
"""
    lines = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    known = [
        f"{table or 'internal'} {kind} stagewright.kinds.{module}"
        for table, modules in MODULES.items()
        for kind, module in modules.items()
    ]
    assert sorted(lines.splitlines()) == sorted(known)


def test_looking_up_a_kind_gives_its_model() -> None:
    assert tuple(kinds()) == TABLES
    assert kinds()["stages"]["tarball"].kind == "tarball"
    assert "tarball" in kinds()["stages"] and "tarbal" not in kinds()["stages"]
    with pytest.raises(KeyError):
        kinds()["stages"]["tarbal"]
