"""update-feed: what a machine downloads is in the image of a new machine, and fits the definitions in its system."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.support import REPOSITORY, Warm, call, plan

pytestmark = pytest.mark.real

PROJECT = """
format = 1
[project]
name = "fleet"
version = "1.0"
source_date_epoch = 2026-11-20
{seed}
[stages.boot]
kind = "livecd-stage2"
root = "trixie"
loaders = ["systemd-boot", "uki"]
[stages.boot.initramfs]
modules = ["dmsquash-live", "systemd", "systemd-veritysetup"]
drivers = ["dm_verity", "erofs", "ext4", "virtio_blk"]
[stages.fleet]
kind = "diskimage-stage1"
root = "trixie"
os_release = {{ IMAGE_ID = "fleet", IMAGE_VERSION = "{{version}}" }}
updates = {{ url = "https://example.org/fleet/latest/feed", key = "fleet.asc", compression = "gz", automatic = true }}
rm = ["/usr/lib/gcc", "/usr/lib/modules/*", "/usr/libexec/gcc", "/usr/bin/*-gnu-*", "/usr/share/*", "/usr/lib/grub",
	"/usr/lib/python3*", "/usr/lib/x86_64-linux-gnu/*.a", "/boot/*", "/usr/include", "/var/cache/*", "/var/lib/apt/*"]
[stages.disk]
kind = "diskimage-stage2"
root = "fleet"
boot = "boot"
layout = "ab"
uki = true
format = "raw"
size = "auto"
[stages.feed]
kind = "update-feed"
image = "disk"
compression = "gz"
"""


@dataclass(frozen=True)
class Fleet:
    """A project with a feed and a disk image that were built, and the layer of its system."""

    project: Path
    layer: Path

    @property
    def feed(self) -> Path:
        """The folder of the feed."""
        return self.project / "out" / "feed"


@pytest.fixture(scope="module")
def fleet(trixie: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Build a disk image and its feed, of the shared seed of Debian 13."""
    folder = tmp_path_factory.mktemp("fleet")
    text = (REPOSITORY / "tests/data/trixie/stagewright.toml").read_text(encoding="utf-8")
    seed = text[text.index("[seeds.trixie]") : text.index("[stages.unused]")]
    (folder / "stagewright.toml").write_text(PROJECT.format(seed=seed), encoding="utf-8")
    shutil.copy(REPOSITORY / "examples/updates/fleet.asc", folder)
    shutil.copy(trixie.lock, folder)
    store = trixie.copy(["seed:trixie"], binpkgs=False)
    call("build", "feed", "disk", cwd=folder, store=store)
    key = plan("fleet", cwd=folder, store=store)["fleet"]["key"]
    yield Fleet(folder, store / "layers" / key / "tree")
    shutil.rmtree(store)


def test_a_feed_fits_the_definitions_in_the_system(fleet: Fleet) -> None:
    lines = (line.split("  ") for line in (fleet.feed / "SHA256SUMS").read_text(encoding="utf-8").splitlines())
    names = [name for digest, name in lines if hashlib.sha256((fleet.feed / name).read_bytes()).hexdigest() == digest]
    (image,) = (fleet.project / "out").glob("*.img")
    table = json.loads(subprocess.check_output(["sfdisk", "--json", image]))["partitiontable"]["partitions"]
    for file in ("10-root.transfer", "20-root-verity.transfer", "30-kernel.transfer"):
        text = (fleet.layer / "usr/lib/sysupdate.d" / file).read_text(encoding="utf-8")
        pattern = re.escape(re.findall(r"^MatchPattern=(.*)$", text, re.MULTILINE)[0])
        pattern = pattern.replace("@v", "1[.]0").replace("@u", "([0-9a-f-]{36})")
        (found,) = (match for match in (re.fullmatch(pattern, name) for name in names) if match)
        names.remove(found[0])
        if found.groups():
            (part,) = (part for part in table if part["uuid"].lower() == found[1])
            assert part["name"] == "fleet_1.0"
            content = gzip.decompress((fleet.feed / found[0]).read_bytes())
            with image.open("rb") as stream:
                stream.seek(part["start"] * 512)
                assert stream.read(len(content)) == content
    assert names == []


def test_the_system_has_the_keyring_and_the_deadline(fleet: Fleet) -> None:
    timer = fleet.layer / "usr/lib/systemd/system/boot-deadline.timer"
    assert "OnBootSec=300\n" in timer.read_text(encoding="utf-8")
    keyring = (fleet.layer / "etc/systemd/import-pubring.gpg").read_bytes()
    listed = subprocess.run(["gpg", "--show-keys", "--with-colons"], input=keyring, check=True, capture_output=True)
    assert len(re.findall(rb"^pub:", listed.stdout, re.MULTILINE)) == 1
    for name in ("systemd-sysupdate.timer", "systemd-sysupdate-reboot.timer"):
        assert (fleet.layer / "etc/systemd/system/timers.target.wants" / name).is_symlink()
