"""update-feed: what a machine downloads is in the image of a new machine, and fits the definitions in its system."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import subprocess

import pytest

from integration.fleet import Fleet

pytestmark = pytest.mark.real


def test_a_feed_fits_the_definitions_in_the_system(fleet: Fleet) -> None:
    lines = (line.split("  ") for line in (fleet.feed / "SHA256SUMS").read_text(encoding="utf-8").splitlines())
    names = [name for digest, name in lines if hashlib.sha256((fleet.feed / name).read_bytes()).hexdigest() == digest]
    (image,) = (fleet.project / "out").glob("fleet-disk-*.img")
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
    assert "OnBootSec=1800\n" in timer.read_text(encoding="utf-8")
    keyring = (fleet.layer / "etc/systemd/import-pubring.gpg").read_bytes()
    listed = subprocess.run(["gpg", "--show-keys", "--with-colons"], input=keyring, check=True, capture_output=True)
    assert len(re.findall(rb"^pub:", listed.stdout, re.MULTILINE)) == 1
    for name in ("systemd-sysupdate.timer", "systemd-sysupdate-reboot.timer"):
        assert (fleet.layer / "etc/systemd/system/timers.target.wants" / name).is_symlink()
