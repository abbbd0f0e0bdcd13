"""stage3: the whole system of a profile, every package built again; what it does not need is removed."""

from __future__ import annotations

import json
import re

import pytest

from integration.sites import Line
from integration.support import call

pytestmark = pytest.mark.real


def test_a_stage3_holds_the_system_of_the_profile(line: Line) -> None:
    found = line.inside("base", "sh", "-c", "ls -d /var/db/pkg/*/*").stdout
    packages = {"/".join(path.split("/")[-2:]).rpartition("-")[0] for path in found.split()}
    assert {"virtual/service-manager", "sys-libs/glibc", "sys-devel/gcc", "app-shells/bash"} <= packages
    assert "sys-apps/which" not in packages, "the stage1 had it, and nothing in the system needs it"
    log = call("log", "stage3", cwd=line.project, store=line.store).stdout
    built = set(re.findall(r">>> Emerging \(\d+ of \d+\) (\S+?)-\d", log))
    assert {"sys-apps/coreutils", "sys-devel/gcc", "app-shells/bash"} <= built
    assert "Emerging binary" not in log


def test_the_packed_stage3(line: Line) -> None:
    (archive,) = (line.project / "out").rglob("*.tar.zst")
    assert archive.name == "stage3-amd64-1.0.tar.zst"
    beside = {path.name.removeprefix(archive.name) for path in archive.parent.iterdir()}
    assert {".CONTENTS.gz", ".DIGESTS", ".sha256"} <= beside
    (manifest,) = archive.parent.glob("*.json")
    packages = {package["name"] for package in json.loads(manifest.read_text(encoding="utf-8"))["packages"]}
    assert any(name.startswith("sys-devel/gcc-") for name in packages)
