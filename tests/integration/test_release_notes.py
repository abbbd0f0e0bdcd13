"""Notes of releases agree with the files; limits of size and growth; advisories, as Portage decides about them."""

from __future__ import annotations

import json
import random
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from integration.archives import member, records, write_tar
from integration.support import Warm, build, call, edit, write_project
from stagewright.portage.installed import VDB

pytestmark = pytest.mark.real

TABLES = """
[seeds.it]
file = "seed.tar"
[stages.packed]
kind = "tarball"
root = "it"
name = "packed"
compression = "none"
grow = "20%"
[releases.live]
artifacts = ["packed"]
previous = "www"
"""


def write_seed(project: Path, size: int, *packages: str) -> None:
    content: list[Any] = []
    for package in packages:
        path = f"usr/{package.partition('/')[2]}"
        content += [*records(package, SLOT="0", SIZE=str(size)), member(path, random.Random(size).randbytes(size))]
        content.append(member(f"{VDB}/{package}/CONTENTS", f"dir /usr\nobj /{path} 0123 1\n".encode()))
    write_tar(project / "seed.tar", content)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def names_in(archive: Path) -> set[str]:
    """The packages that an archive has records of, as category/name-version."""
    said = subprocess.run(["tar", "-tf", archive], check=True, capture_output=True, text=True).stdout
    found = (
        line.removeprefix("./").removeprefix(VDB).strip("/").split("/") for line in said.splitlines() if VDB in line
    )
    return {"/".join(parts[:2]) for parts in found if len(parts) >= 2}


def test_notes_agree_with_the_files(tmp_path: Path) -> None:
    """Three versions: the second changes packages, the third is refused because it grew, or is too large."""
    project, store = write_project(tmp_path / "project", TABLES), tmp_path / "store"
    write_seed(project, 40_000, "app-misc/gone-1", "app-misc/stays-1", "app-misc/up-1")
    build("live", cwd=project, store=store)
    first = read(project / "out/live/1/notes.json")
    assert first["previous"] is None and first["changes"] is None
    call("publish", "live", str(project / "www"), cwd=project, store=store)
    assert "notes.html" in (project / "www/index.html").read_text(encoding="utf-8")

    edit(project, 'version = "1"', 'version = "2"')
    write_seed(project, 41_000, "app-misc/new-1", "app-misc/stays-1", "app-misc/up-2")
    build("live", cwd=project, store=store)
    folder = project / "out/live/2"
    notes = read(folder / "notes.json")
    (packed,) = notes["artifacts"]
    assert (
        packed["size"]
        == (folder / packed["name"]).stat().st_size
        == read(folder / "release.json")["artifacts"][0]["size"]
    )
    assert packed["growth"] == packed["size"] - (project / "www/1" / packed["name"]).stat().st_size
    assert {f"{one['name']}-{one['version']}" for one in packed["packages"]} == names_in(folder / packed["name"])
    bill = read(folder / f"{packed['name']}.bill.json")["components"]
    assert [(one["name"], one["size"]) for one in packed["packages"]] == [(one["name"], one["size"]) for one in bill]
    changes = notes["changes"]
    assert [one["name"] for one in changes["added"]] == ["app-misc/new"]
    assert [one["name"] for one in changes["removed"]] == ["app-misc/gone"]
    assert changes["updated"] == [{"name": "app-misc/up", "old": "1", "new": "2"}]
    assert [(one["version"], one["sizes"]["packed"]) for one in notes["trend"]] == [
        ("1", first["artifacts"][0]["size"]),
        ("2", packed["size"]),
    ]
    text = (folder / "notes.md").read_text(encoding="utf-8")
    assert "- updated app-misc/up: 1 → 2\n" in text and f"{packed['size']} bytes" in text
    sums = (folder / "SHA256SUMS").read_text(encoding="utf-8")
    assert all(f"  {name}\n" in sums for name in ("notes.json", "notes.md", "notes.html"))
    call("publish", "live", str(project / "www"), cwd=project, store=store)
    call("verify", "--unsigned", str(project / "www"), cwd=project, store=store)
    assert not build("live", cwd=project, store=store).built(), "the same version has the same release before"

    edit(project, 'version = "2"', 'version = "3"')
    write_seed(project, 80_000, "app-misc/new-1", "app-misc/stays-1", "app-misc/up-3")
    run = build("live", cwd=project, store=store, check=False)
    (error,) = (event["error"] for event in run.events if event.get("error"))
    assert run.reasons == {"release:live": "too-large"} and "packed" in run.built()
    assert "packed: grew by " in error["message"] and "since version 2" in error["message"]
    assert "app-misc/up (2 -> 3)" in error["detail"] and "39000 bytes" in error["detail"]
    edit(project, 'grow = "20%"', 'size = "100K"')
    run = build("live", cwd=project, store=store, check=False)
    (error,) = (event["error"] for event in run.events if event.get("error"))
    assert run.reasons == {"packed": "too-large"} and "size = '100K'" in error["message"]
    assert "app-misc/new-1" in error["detail"]


GLSA = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE glsa SYSTEM "http://www.gentoo.org/dtd/glsa.dtd">
<glsa id="{id}">
    <title>{title}</title>
    <synopsis>A flaw.</synopsis>
    <product type="ebuild">it</product>
    <announced>2026-01-02</announced>
    <revised count="1">2026-01-02</revised>
    <affected>{packages}</affected>
    <description><p>x</p></description>
    <impact type="high"><p>x</p></impact>
    <workaround><p>x</p></workaround>
    <resolution><p>x</p></resolution>
    <references><uri link="https://example.org/">x</uri></references>
</glsa>
"""
AFFECTED = '<package name="{name}" auto="yes" arch="{arch}">{ranges}</package>'
RANGES = {
    "202601-01": ("app-misc/a", "*", '<unaffected range="ge">2.0</unaffected><vulnerable range="lt">2.0</vulnerable>'),
    "202601-02": ("app-misc/b", "sparc", '<vulnerable range="lt">9</vulnerable>'),
    "202601-03": ("app-misc/b", "x86 amd64", '<vulnerable range="lt" slot="2">9</vulnerable>'),
    "202601-04": (
        "app-misc/c",
        "*",
        '<unaffected range="rge">1.0-r3</unaffected><vulnerable range="le">1.5</vulnerable>',
    ),
}
PACKAGES = [("app-misc/a-1.9_p1", "0"), ("app-misc/a-2.0", "0"), ("app-misc/b-1", "1"), ("app-misc/b-2", "2")]
PACKAGES += [("app-misc/c-1.0-r2", "0"), ("app-misc/c-1.0-r3", "0"), ("app-misc/ab-1", "0")]


def test_advisories_are_read_by_portage(warm: Warm, tmp_path: Path) -> None:
    folder, root = tmp_path / "glsa", warm.tree("seed:debian")
    folder.mkdir()
    for number, (name, arch, ranges) in RANGES.items():
        text = GLSA.format(
            id=number, title="a &lt;b&gt;", packages=AFFECTED.format(name=name, arch=arch, ranges=ranges)
        )
        (folder / f"glsa-{number}.xml").write_text(text, encoding="utf-8")
    (folder / "glsa-202601-05.xml").write_text("<broken app-misc/a", encoding="utf-8")
    (folder / "index.xml").write_text("app-misc/a", encoding="utf-8")
    asked = {"folders": ["/mnt"], "arches": ["amd64"], "packages": PACKAGES}
    (tmp_path / "request.json").write_text(json.dumps(asked), encoding="utf-8")
    script = resources.files("stagewright.kinds.releases") / "data" / "advisories.py"
    steps = [
        f'mount --bind "{root}" "{root}" && mount -o remount,ro,bind "{root}"',
        f'mount --bind "{folder}" "{root}/mnt" && mount -t tmpfs none "{root}/tmp"',
        f'cp "{tmp_path}/request.json" "{script}" "{root}/tmp"',
        f'exec chroot "{root}" python3 -B /tmp/advisories.py /tmp/request.json',
    ]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", "\n".join(steps)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    found = {one["id"]: [PACKAGES[number][0] for number in one["packages"]] for one in answer["advisories"]}
    assert found == {
        "202601-01": ["app-misc/a-1.9_p1"],
        "202601-03": ["app-misc/b-2"],
        "202601-04": ["app-misc/c-1.0-r2"],
    }
    assert {(one["title"], one["severity"]) for one in answer["advisories"]} == {("a <b>", "high")}
    (unreadable,) = answer["unreadable"]
    assert unreadable.startswith("glsa-202601-05.xml: ")
