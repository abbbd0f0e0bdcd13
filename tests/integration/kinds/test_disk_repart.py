"""diskimage-stage2 with `repart`: systemd-repart of a root makes verified and encrypted partitions."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.vault_disk import PASSPHRASE, STAGE, add_vault
from integration.fleet import Fleet
from integration.support import call, plan

pytestmark = pytest.mark.real

PROVEN = """
[stages.proven]
extends = "disk"
repart = "trixie"
"""
VAULT = """
root = "fleet"
boot = "boot"
format = "raw"
"""


@dataclass(frozen=True)
class Disks:
    """A copy of the project of :class:`Fleet` with two more disk images, and its store."""

    project: Path
    store: Path

    def build(self, *stages: str) -> None:
        call("build", *stages, cwd=self.project, store=self.store)

    def image(self, stage: str) -> Path:
        (image,) = (self.project / "out").glob(f"fleet-{stage}-*.img")
        return image

    def partitions(self, stage: str) -> list[dict[str, Any]]:
        words = ["sfdisk", "--json", self.image(stage)]
        return json.loads(subprocess.check_output(words))["partitiontable"]["partitions"]


@pytest.fixture(scope="module")
def disks(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Disks:
    project = tmp_path_factory.mktemp("disks") / "project"
    shutil.copytree(fleet.project, project, ignore=shutil.ignore_patterns("out"))
    with (project / "stagewright.toml").open("a", encoding="utf-8") as stream:
        stream.write(PROVEN)
    add_vault(project, VAULT)
    made = Disks(project, fleet.store)
    made.build("proven", STAGE)
    return made


def cut(image: Path, part: dict[str, Any], target: Path) -> Path:
    """Copy a partition of an image into a file."""
    with image.open("rb") as source, target.open("wb") as stream:
        source.seek(part["start"] * 512)
        for _ in range(part["size"] // 2048):
            stream.write(source.read(1 << 20))
    return target


def test_systemd_repart_makes_a_verified_root_and_the_same_bytes_again(disks: Disks, tmp_path: Path) -> None:
    image, table = disks.image("proven"), disks.partitions("proven")
    (data,) = (part for part in table if part["name"] == "fleet_1.0" and part["type"] == table[1]["type"])
    (tree,) = (part for part in table if part["name"] == "fleet_1.0" and part is not data)
    root_hash = (data["uuid"] + tree["uuid"]).replace("-", "").lower()
    esp = cut(image, table[0], tmp_path / "esp")
    kernel = subprocess.check_output(["mtype", "-i", esp, "::EFI/Linux/fleet_1.0.efi"])
    assert f"roothash={root_hash} root=/dev/mapper/root ro".encode() in kernel
    parts = cut(image, data, tmp_path / "data"), cut(image, tree, tmp_path / "tree")
    subprocess.run(["veritysetup", "verify", *parts, root_hash], check=True)
    first = hashlib.sha256(image.read_bytes()).hexdigest()
    key = plan("proven", cwd=disks.project, store=disks.store)["proven"]["key"]
    shutil.rmtree(disks.store / "artifacts" / key)
    disks.build("proven")
    assert hashlib.sha256(disks.image("proven").read_bytes()).hexdigest() == first


def test_systemd_repart_encrypts_a_root(disks: Disks, tmp_path: Path) -> None:
    image, table = disks.image(STAGE), disks.partitions(STAGE)
    part = cut(image, table[1], tmp_path / "part")
    words = ["cryptsetup", "open", "--test-passphrase", "--key-file", "-", part]
    subprocess.run(words, input=PASSPHRASE.encode(), check=True)
    assert subprocess.run(words, input=b"wrong", check=False).returncode == 2
    uuid = subprocess.check_output(["cryptsetup", "luksUUID", part], text=True).strip()
    esp = cut(image, table[0], tmp_path / "esp")
    entry = subprocess.check_output(["mtype", "-i", esp, "::loader/entries/*.conf"], text=True)
    assert f"rd.luks.uuid={uuid} root=/dev/mapper/luks-{uuid} rw" in entry
