"""The kind of the tutorial: another package makes a container image that skopeo reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from integration.archives import member, records, write_tar
from integration.plugins import OCI, install
from integration.support import Run, build, write_project

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not shutil.which("skopeo"), reason="NOT TESTED: skopeo is not installed"),
]

PROJECT = """
[seeds.it]
file = "seed.tar"
arch = "arm64"
[stages.image]
kind = "oci-archive"
root = "it"
tag = "1.2"
command = ["/usr/greet", "you"]
"""

NAME = "image-arm64-1.oci.tar"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment of a command that finds the package."""
    folder = install(OCI, tmp_path_factory.mktemp("site"))
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, site: Mapping[str, str]) -> tuple[Path, Run]:
    base = tmp_path_factory.mktemp("oci")
    project = write_project(base / "project", PROJECT)
    content = [member("usr/greet", b"#!/bin/sh\necho hello\n", mode=0o4755, uid=7), *records("app-misc/it-1")]
    write_tar(project / "seed.tar", content)
    return project, build(cwd=project, store=base / "store", env=site)


def skopeo(*words: str | Path) -> str:
    return subprocess.run(["skopeo", "--insecure-policy", *words], check=True, capture_output=True, text=True).stdout


def inspect(project: Path, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(skopeo("inspect", *words, f"oci-archive:{project / 'out' / NAME}"))
    return found


def test_skopeo_reads_the_image(built: tuple[Path, Run]) -> None:
    found = inspect(built[0])
    assert (found["Architecture"], found["Os"], found["Created"]) == ("arm64", "linux", "2026-11-20T00:00:00Z")
    assert len(found["Layers"]) == 1
    config = inspect(built[0], "--config")
    assert config["config"] == {"Cmd": ["/usr/greet", "you"]}
    assert config["rootfs"]["diff_ids"] == found["Layers"], "the layer is not compressed"


def test_the_image_is_found_by_its_tag_and_holds_the_root(built: tuple[Path, Run], tmp_path: Path) -> None:
    skopeo("copy", f"oci-archive:{built[0] / 'out' / NAME}:1.2", f"dir:{tmp_path / 'image'}")
    layers = [path for path in (tmp_path / "image").iterdir() if len(path.name) == 64 and path.stat().st_size > 5000]
    listing = subprocess.run(
        ["tar", "--list", "--verbose", "--numeric-owner", "--file", layers[0]],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    (line,) = [line for line in listing.splitlines() if line.endswith("./usr/greet")]
    assert line.startswith("-rwsr-xr-x 7/0")


def test_digests_and_manifest_describe_the_image(built: tuple[Path, Run]) -> None:
    out = built[0] / "out"
    subprocess.run(["sha256sum", "--check", "--quiet", f"{NAME}.sha256"], cwd=out, check=True)
    manifest = json.loads((out / f"{NAME}.manifest.json").read_text(encoding="utf-8"))
    assert manifest["artifact"]["size"] == (out / NAME).stat().st_size
    assert manifest["image"] == {"tag": "1.2"}
    assert [entry["kind"] for entry in manifest["lineage"]] == ["file", "oci-archive"]
    assert [package["name"] for package in manifest["packages"]] == ["app-misc/it-1"]


def test_two_builds_give_equal_bytes(built: tuple[Path, Run], tmp_path: Path, site: Mapping[str, str]) -> None:
    project, _ = built
    again = tmp_path / "project"
    shutil.copytree(project, again, ignore=shutil.ignore_patterns("out"))
    build(cwd=again, store=tmp_path / "store", env=site)
    assert (again / "out" / NAME).read_bytes() == (project / "out" / NAME).read_bytes()
