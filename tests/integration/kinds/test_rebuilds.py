"""rebuilds: packages of a stage are built again inside it and compared, and the compiler still works afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.support import DEMO, REPOSITORY, Run, Warm, build, call, notices, seeds_of, write_project

pytestmark = pytest.mark.real

REBUILDREPO = REPOSITORY / "tests" / "data" / "rebuildrepo"

REBUILT = """
[stages.tools]
kind = "livecd-stage1"
root = "debian"
profile = "default/linux/amd64"
use = ["shout"]
packages = [
    "app-misc/hello", "test-rebuild/breaks-compiler", "test-rebuild/built-once", "test-rebuild/differs", "virtual/one",
]

[tests.selfhost]
rebuilds = "tools"
packages = ["virtual/one", "test-rebuild/differs"]

[tests.dies]
rebuilds = "tools"
packages = ["test-rebuild/built-once"]

[tests.breaks]
rebuilds = "tools"
packages = ["test-rebuild/breaks-compiler"]

[tests.lacks]
rebuilds = "tools"
packages = ["app-misc/hello", "sys-devel/gcc", "@world", "app-misc/nothing"]

[tests.default]
rebuilds = "tools"
"""


@dataclass(frozen=True)
class Site:
    project: Path
    store: Path

    def build(self, *targets: str, check: bool = True) -> Run:
        return build(*targets, cwd=self.project, store=self.store, check=check)


@pytest.fixture(scope="module")
def rebuilt(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Run]]:
    """A stage on the demo's seed with a few packages, after one build of its tests with ``--keep-going``."""
    repos = '[repos.demo]\npath = "repo"\nmain = true\n[repos.rebuildrepo]\npath = "rebuildrepo"\n'
    project = write_project(tmp_path_factory.mktemp("rebuilt") / "project", repos + seeds_of(DEMO) + REBUILT)
    shutil.copytree(DEMO / "repo", project / "repo")
    shutil.copytree(REBUILDREPO, project / "rebuildrepo")
    shutil.copy(warm.lock, project)
    site = Site(project, warm.copy(["seed:debian"], binpkgs=True))
    yield site, site.build("--keep-going", "selfhost", "dies", "breaks", "lacks", "default", check=False)
    shutil.rmtree(site.store)


def error(run: Run, node: str) -> dict[str, str]:
    return next(event["error"] for event in run.events if event.get("node") == node and event.get("error"))


def test_packages_are_built_again_and_compared(rebuilt: tuple[Site, Run]) -> None:
    site, run = rebuilt
    assert "test:selfhost" in run.built(), run
    report = json.loads((site.project / "out/selfhost/rebuild.json").read_text(encoding="utf-8"))
    assert report["stage"] == "tools"
    assert report["compiler"].endswith("gcc")
    found = {package["name"]: package for package in report["packages"]}
    assert set(found) == {"app-misc/hello-1.0", "test-rebuild/differs-1"}, "a virtual stands for what satisfies it"
    assert found["app-misc/hello-1.0"]["equal"]
    differs = found["test-rebuild/differs-1"]
    assert differs["differ"] == ["/usr/share/differs/moment"]
    assert differs["added"] == ["/usr/share/differs/second"]
    assert differs["removed"] == ["/usr/share/differs/first"]
    assert all(isinstance(package["seconds"], int) for package in report["packages"])
    assert notices(run) == ["2 packages built again, 1 with the same files; other files in test-rebuild/differs-1"]


def test_they_come_from_source_and_stay_away_from_the_cache(rebuilt: tuple[Site, Run]) -> None:
    site, _ = rebuilt
    log = call("log", "selfhost", cwd=site.project, store=site.store).stdout
    assert ">>> Emerging (1 of 2)" in log
    assert "Emerging binary" not in log
    kept = {path.name for path in (site.store / "cache/binpkgs/test-rebuild/differs").glob("*/*/*")}
    assert len(kept) == 1, "the stage's own"


def test_a_package_that_cannot_be_built_again_is_reported(rebuilt: tuple[Site, Run]) -> None:
    site, run = rebuilt
    failure = error(run, "test:dies")
    assert failure["reason"] == "package-failed"
    assert "test-rebuild/built-once-1 failed in its compile phase" in failure["message"]
    assert "this was built before" in failure["detail"]
    assert "stagewright shell dies" in run.stderr
    shown = call("shell", "dies", "--", "cat", "/usr/share/built-once", cwd=site.project, store=site.store)
    assert "as the failed build left it" in shown.stderr
    assert shown.stdout == "built\n"


def test_a_compiler_that_is_broken_afterwards_is_reported(rebuilt: tuple[Site, Run]) -> None:
    failure = error(rebuilt[1], "test:breaks")
    assert failure["reason"] == "build-failed"
    assert "compiler does not work" in failure["message"]
    assert "program" in failure["detail"]


def test_missing_packages_are_named_at_once(rebuilt: tuple[Site, Run]) -> None:
    failure = error(rebuilt[1], "test:lacks")
    assert failure["reason"] == "environment-lacks"
    assert all(name in failure["detail"] for name in ("sys-devel/gcc", "app-misc/nothing"))
    assert "app-misc/hello" not in failure["detail"]
    assert "@world" not in failure["detail"], "the world has packages"


def test_a_profile_without_a_toolchain_is_reported(rebuilt: tuple[Site, Run]) -> None:
    failure = error(rebuilt[1], "test:default")
    assert failure["reason"] == "dependencies"
    assert "packages.build" in failure["message"]
