"""Differences between stages, builds and artifacts: packages, files, sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from integration.archives import Add, folder, hard_link, link, member, records, write_tar
from integration.support import Run, build, call, edit, write_project

pytestmark = pytest.mark.real

PROJECT = """
[seeds.it]
file = "seed.tar"
[stages.base]
kind = "livecd-stage1"
root = "it"
root_overlay = ["base"]
[stages.live]
kind = "livecd-stage1"
root = "base"
root_overlay = ["live"]
rm = ["/var/db/pkg", "/usr/doc", "/usr/twin"]
[stages.packed]
kind = "tarball"
root = "base"
"""

OLD, NEW = "app-misc/greet-1.0", "app-misc/greet-1.1-r1"


def members() -> list[Add]:
    return [
        member("usr/tool", bytes(100_000), mode=0o755),
        hard_link("usr/twin", "usr/tool"),
        member("usr/same", b"same"),
        folder("usr/doc"),
        member("usr/doc/page", bytes(5000)),
        link("usr/link", "tool"),
        member("usr/new\nline", b"1"),
        *records(OLD, USE="nls doc amd64"),
        *records("sys-kernel/it-6.1", SLOT="6.1"),
        *records("sys-apps/gone-2", LICENSE="GPL-2"),
    ]


class Bench:
    """A project whose builds are compared."""

    def __init__(self, base: Path) -> None:
        self.project = write_project(base / "project", PROJECT)
        self.store = base / "store"
        for name in ("base", "live"):
            (self.project / name / "usr").mkdir(parents=True)
        (self.project / "live/usr/tool").write_bytes(b"x" * 100_000)
        (self.project / "live/usr/more").write_bytes(bytes(3_000_000))
        write_tar(self.project / "seed.tar", members())

    def build(self, *targets: str) -> Run:
        return build(*targets, cwd=self.project, store=self.store)

    def call(self, *words: str, check: bool = True) -> Run:
        return call("diff", *words, cwd=self.project, store=self.store, check=check)

    def diff(self, *words: str) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.call(*words, "--json").stdout)
        return data

    def install(self, *packages: Add) -> None:
        """Other packages in the seed."""
        kept = [*members()[:7], *packages]
        write_tar(self.project / "seed.tar", kept)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.build()
    return made


def paths(files: list[dict[str, Any]]) -> list[str]:
    return [file["path"] for file in files]


def test_two_stages(bench: Bench) -> None:
    found = bench.diff("base", "live")
    assert not found["equal"]
    assert found["packages"] == {"added": [], "removed": [], "changed": []}, "the live stage remembers what it held"
    files = found["files"]
    assert files["added"] == [{"path": "/usr/more", "size": 3_000_000}]
    gone = ["/usr/doc", "/usr/doc/page", "/usr/twin", "/var/db/pkg"]
    assert [path for path in paths(files["removed"]) if not path.startswith("/var/db/pkg/")] == gone
    assert files["changed"] == [
        {"path": "/usr/tool", "old_size": 100_000, "new_size": 100_000, "what": ["mode", "content"]}
    ]
    assert files["total"]["new"] - files["total"]["old"] == 3_000_000 - sum(file["size"] for file in files["removed"])


def test_a_stage_and_itself(bench: Bench) -> None:
    assert bench.diff("live", "live")["equal"]
    run = bench.call("base", "base")
    assert run.stdout.startswith("base (") and "no difference" in run.stdout


def test_with_the_build_before(bench: Bench) -> None:
    bench.install(
        *records(NEW, USE="doc -x amd64 ssl"), *records("sys-kernel/it-6.6", SLOT="6.6"), *records("app-misc/new-3")
    )
    bench.build("base")
    found = bench.diff("base@previous", "base")
    assert [package["name"] for package in found["packages"]["added"]] == ["app-misc/new-3"]
    assert [package["name"] for package in found["packages"]["removed"]] == ["sys-apps/gone-2"]
    greet, kernel = found["packages"]["changed"]
    assert (greet["old"]["name"], greet["new"]["name"], greet["use"]) == (OLD, NEW, ["+-x", "-nls", "+ssl"])
    assert (kernel["old"]["slot"], kernel["new"]["slot"]) == ("6.1", "6.6")
    text = bench.call("base@previous", "base").stdout
    assert "packages: 1 added, 1 removed, 2 changed" in text
    assert "~ app-misc/greet-1.0 -> greet-1.1-r1  USE: +-x -nls +ssl" in text


def test_previous_follows_the_project(bench: Bench) -> None:
    """The build before is the last one with another key, whichever of them is current."""
    edit(bench.project, 'root = "it"', 'root = "it"\nhostname = "second"')
    bench.build("base")
    first = bench.diff("base@previous", "base")
    assert paths(first["files"]["added"]) == ["/etc/hostname"]
    edit(bench.project, 'hostname = "second"\n', "")
    again = bench.diff("base@previous", "base")
    assert (again["a"]["key"], again["b"]["key"]) == (first["b"]["key"], first["a"]["key"])
    call("gc", cwd=bench.project, store=bench.store)
    run = bench.call("base@previous", "base", check=False)
    assert run.code == 2 and "gc removed it" in run.stderr


def test_artifacts_and_their_manifests(bench: Bench, tmp_path: Path) -> None:
    out = bench.project / "out"
    first = tmp_path / "first"
    out.rename(first)
    edit(bench.project, 'root = "it"', 'root = "it"\nhostname = "second"')
    bench.install(*records(NEW, USE="nls doc amd64"))
    bench.build("packed")
    name = "base-amd64-1.tar.zst"
    found = bench.diff(str(first / name), str(out / f"{name}.manifest.json"))
    assert [package["name"] for package in found["packages"]["removed"]] == ["sys-apps/gone-2", "sys-kernel/it-6.1"]
    assert found["packages"]["changed"][0]["new"]["name"] == NEW
    assert "/etc/hostname" in paths(found["files"]["added"])
    assert paths(found["files"]["changed"]) == []
    by_name = bench.diff("packed@previous", "packed")
    assert (by_name["packages"], by_name["files"]) == (found["packages"], found["files"])
    mixed = bench.diff("packed", "base")
    assert mixed["equal"], "a tarball holds what its root does"
    (first / f"{name}.CONTENTS.gz").unlink()
    assert bench.diff(str(first / name), str(out / name))["files"] is None
    assert "not compared" in bench.call(str(first / name), str(out / name)).stdout


def test_beginnings_of_keys(bench: Bench, tmp_path: Path) -> None:
    key = bench.diff("live", "base")["a"]["key"]
    found = bench.diff(key[:10], "live")
    assert found["equal"] and found["a"] == {"name": key[:10], "key": key}
    empty = tmp_path / "empty"
    empty.mkdir()
    outside = call("diff", key[:10], key, cwd=empty, store=bench.store)
    assert "no difference" in outside.stdout, "no project is needed for keys"


def test_what_cannot_be_compared(bench: Bench) -> None:
    edit(bench.project, 'root = "it"', 'root = "it"\nhostname = "second"')
    (bench.project / "broken.manifest.json").write_text('{"format": 2}', encoding="utf-8")
    for words, said in {
        ("base", "live"): "base: not built with the present settings of the project",
        ("bse", "live"): "did you mean 'base'?",
        ("0000", "live"): "'0000': not a stage, a result or a file",
        (str(bench.project / "seed.tar"), "live"): "seed.tar.manifest.json",
        ("./gone.tar", "live"): "gone.tar.manifest.json: manifest not found",
        (str(bench.project / "broken.manifest.json"), "live"): "not a manifest of format 1",
    }.items():
        run = bench.call(*words, check=False)
        assert (run.code, said in run.stderr) == (2, True), run


def test_long_lists_are_cut(bench: Bench) -> None:
    for number in range(30):
        (bench.project / f"live/usr/file{number:02}").write_bytes(bytes(number * 1000))
    bench.build("live")
    text = bench.call("live@previous", "live").stdout
    assert "30 added" in text and "/usr/file29" in text and "/usr/file05" not in text
    assert "and 10 more" in text
    full = bench.call("live@previous", "live", "--files").stdout
    assert "/usr/file05" in full and "--files lists them" not in full


def test_odd_names_stay_on_their_line(bench: Bench) -> None:
    edit(bench.project, '"/usr/doc"', '"/usr/new*"')
    bench.build("live")
    assert "-       -1 B  /usr/new\\nline\n" in bench.call("base", "live", "--files").stdout
