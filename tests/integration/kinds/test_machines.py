"""machines: a server with a network set, and a client that boots from it, as one test of a project."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from integration.support import DEMO, Warm, build, copy_project, edit
from stagewright.testing.results import Report

pytestmark = pytest.mark.real

EXAMPLE = DEMO.parent / "machines"
PYTHON = '[tests.python]\nboots = "iso"\nnetwork = true\nscript = "live.py"\n'


@pytest.mark.boot
def test_a_client_boots_from_a_server(warm: Warm, tmp_path: Path) -> None:
    """The example on the seeds and the payload of the demo."""
    project = copy_project(EXAMPLE, tmp_path / "machines")
    for name in ("repo", "overlays"):
        (project / name).unlink()
        shutil.copytree(DEMO / name, project / name)
    shutil.copy(warm.lock, project)
    edit(project, PYTHON, "")
    store = warm.copy(["seed:debian", "seed:debian-boot", "boot"], binpkgs=True)
    try:
        run = build("network", cwd=project, store=store)
        assert {"boot", "seed:debian", "seed:debian-boot"} & run.built() == set()
        results = project / "out/network"
        report = Report.from_dict(json.loads((results / "result.json").read_text(encoding="utf-8")))
        assert report.passed
        assert [machine.name for machine in report.machines] == ["client", "server"]
        console = (results / "client/console.log").read_text(errors="replace", encoding="utf-8")
        assert "Command line: root=live:/image.squashfs.img" in console
        assert (results / "client/screen.png").exists()
    finally:
        shutil.rmtree(store)
