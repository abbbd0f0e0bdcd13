"""Failing packages: each failure is explained, ends with exit code 1, and leaves the store as good as before."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.support import DEMO, FAILREPO, Run, Warm, build, call, edit, notices, seeds_of, states, write_project

pytestmark = pytest.mark.real

CASES = {
    "compile": "test-fail/compile-dies",
    "distfile": "test-fail/missing-distfile",
    "manifest": "test-fail/bad-manifest",
    "masked": "test-fail/masked-keyword",
    "usedep": "test-fail/bad-use-dep",
    "missing": "test-fail/missing-dep",
}

REASONS = {
    "compile": "package-failed",
    "distfile": "fetch-failed",
    "manifest": "fetch-failed",
    "masked": "dependencies",
    "usedep": "dependencies",
    "missing": "dependencies",
}

STAGE = """
[stages.{name}]
kind = "embedded"
root = "debian"
profile = "default/linux/amd64"
packages = ["{package}"]
"""

DEPENDENT = """
[stages.live]
kind = "livecd-stage1"
root = "good"
rm = ["/no/such/*", "/usr/bin/nothing"]
empty = ["/no/such/folder"]

[stages.broken-live]
kind = "livecd-stage1"
root = "compile"
"""


@dataclass(frozen=True)
class Broken:
    """A project whose stages fail in all the ways, after one build of it with ``--keep-going``."""

    project: Path
    store: Path
    run: Run

    def error(self, node: str) -> dict[str, str]:
        return next(event["error"] for event in self.run.events if event.get("node") == node and event.get("error"))

    def text(self, node: str) -> str:
        error = self.error(node)
        return f"{error['message']}\n{error['detail']}\n{error['hint']}"


@pytest.fixture(scope="module")
def broken(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    stages = "".join(STAGE.format(name=name, package=package) for name, package in CASES.items())
    good = STAGE.format(name="good", package="app-misc/hello")
    project = write_project(
        tmp_path_factory.mktemp("broken") / "project",
        '[repos.demo]\npath = "repo"\nmain = true\n[repos.failrepo]\npath = "failrepo"\n'
        + seeds_of(DEMO)
        + stages
        + good
        + DEPENDENT,
    )
    shutil.copytree(DEMO / "repo", project / "repo")
    shutil.copytree(FAILREPO, project / "failrepo")
    shutil.copy(warm.lock, project)
    store = warm.copy(["seed:debian"], binpkgs=True)
    yield Broken(project, store, build("--keep-going", cwd=project, store=store, check=False))
    shutil.rmtree(store)


def test_every_failure_has_its_reason(broken: Broken) -> None:
    assert broken.run.code == 1
    assert broken.run.reasons == REASONS
    for name in CASES:
        assert f": {name}: " in broken.run.stderr  # place, node, message
        assert f"stagewright log {name}" in broken.run.stderr


def test_keep_going_builds_what_can_be_built(broken: Broken) -> None:
    ends = {event["node"]: event["status"] for event in broken.run.events if event["event"] == "NodeFinished"}
    assert ends == {**dict.fromkeys(CASES, "failed"), "good": "built", "live": "built", "broken-live": "skipped"}


def test_store_is_intact_after_failures(broken: Broken) -> None:
    plan = states(cwd=broken.project, store=broken.store)
    assert {node for node, state in plan.items() if state == "cached"} == {"seed:debian", "good", "live"}
    assert not list((broken.store / "work").iterdir())
    assert len(list((broken.store / "layers").iterdir())) == 3


def test_patterns_that_match_nothing_are_noticed(broken: Broken) -> None:
    told = "\n".join(notices(broken.run))
    assert "/no/such/*" in told
    assert "/usr/bin/nothing" in told
    assert "/no/such/folder" in told


def test_failing_compiler(broken: Broken) -> None:
    text = broken.text("compile")
    assert "test-fail/compile-dies-1 failed in its compile phase" in text
    assert "missing" in text and "broken.c" in text and "error:" in text  # what the compiler said
    assert "the compiler failed on broken.c" in text  # what the ebuild said
    assert "stagewright shell compile" in broken.run.stderr


def test_shell_enters_the_root_of_the_failed_build(broken: Broken) -> None:
    source = "/var/tmp/portage/test-fail/compile-dies-1/work/broken.c"
    shown = call("shell", "compile", "cat", source, cwd=broken.project, store=broken.store)
    assert "return missing;" in shown.stdout
    assert "as the failed build left it" in shown.stderr
    environment = call(
        "shell",
        "compile",
        "--",
        "sh",
        "-c",
        "ls /var/db/repos; ls -l /etc/portage/make.profile",
        cwd=broken.project,
        store=broken.store,
    )
    assert environment.stdout.split()[:2] == ["demo", "failrepo"]


def test_shell_keeps_changes_and_exit_code(broken: Broken) -> None:
    call("shell", "compile", "--", "touch", "/mnt/target/was-here", cwd=broken.project, store=broken.store)
    found = call(
        "shell",
        "compile",
        "--",
        "sh",
        "-c",
        "ls /mnt/target; exit 7",
        cwd=broken.project,
        store=broken.store,
        check=False,
    )
    assert "was-here" in found.stdout
    assert found.code == 7


def test_log_shows_what_commands_printed(broken: Broken) -> None:
    shown = call("log", "compile", cwd=broken.project, store=broken.store).stdout
    assert "+ bwrap" in shown and "broken.c" in shown and "!!!" in shown
    listed = call("log", "--list", "compile", cwd=broken.project, store=broken.store).stdout
    assert all(Path(line).is_file() for line in listed.splitlines())


def test_missing_distfile_is_named(broken: Broken) -> None:
    text = broken.text("distfile")
    assert "no-such-source-1.tar.gz" in text or "missing-distfile-1" in text
    assert str(broken.store / "cache" / "distfiles") in text


def test_bad_manifest_does_not_spoil_the_file_for_others(broken: Broken) -> None:
    """Portage sets the file aside, though it is right; a package with a right Manifest gets it again."""
    assert "busybox-1.35.0.tar.bz2 does not match the Manifest" in broken.text("manifest")
    bad = broken.project / "failrepo/test-fail/bad-manifest"
    good = bad.with_name("good-manifest")
    good.mkdir()
    shutil.copy(bad / "bad-manifest-1.ebuild", good / "good-manifest-1.ebuild")
    shutil.copy(DEMO / "repo/sys-apps/busybox/Manifest", good)
    edit(broken.project, "test-fail/bad-manifest", "test-fail/good-manifest")
    assert build("manifest", cwd=broken.project, store=broken.store).built() == {"manifest"}


def test_dependencies_name_the_culprit(broken: Broken) -> None:
    assert "masked-keyword" in broken.text("masked")
    assert "app-misc/hello" in broken.text("usedep") and "shout" in broken.text("usedep")
    assert "app-misc/no-such-package" in broken.text("missing")


def test_a_corrected_project_builds_and_its_shell_is_fresh(broken: Broken) -> None:
    edit(broken.project, "return missing;", "return 0;", "failrepo/test-fail/compile-dies/compile-dies-1.ebuild")
    plan = states("compile", cwd=broken.project, store=broken.store)
    assert plan == {"seed:debian": "cached", "compile": "build"}
    assert build("compile", cwd=broken.project, store=broken.store).built() == {"compile"}
    shown = call("shell", "compile", "--", "ls", "/", cwd=broken.project, store=broken.store, check=False)
    assert "what was built" in shown.stderr  # and has no ls
    started = call("shell", "--before", "compile", "--", "ls", "/mnt/target", cwd=broken.project, store=broken.store)
    assert "its build starts from" in started.stderr and "was-here" not in started.stdout
    assert not list((broken.store / "failed").glob("test-*/compile"))


def test_without_keep_going_the_rest_is_skipped(broken: Broken) -> None:
    run = build("--cores=1", "missing", "masked", "usedep", cwd=broken.project, store=broken.store, check=False)
    assert run.code == 1
    ends = sorted(event["status"] for event in run.events if event["event"] == "NodeFinished")
    assert ends == ["failed", "skipped", "skipped"]
