"""One project, twelve environments: the same keys and the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from integration.support import build, command, owner_in_layer, plan, write_project
from stagewright.id_ranges import IdRange
from stagewright.ids import capability_of, owner

pytestmark = pytest.mark.real

PROJECT = """
[seeds.base]
file = "root"

[stages.packed]
kind = "tarball"
root = "base"
compression = "xz"
"""

FILES = {
    "root/etc/passwd": "root:x:0:0::/root:/bin/sh\n",
    "root/usr/share/text": "text\n" * 1000,
    "root/usr/bin/tool": "#!/bin/sh\n",
}

OPTIONS = {
    "TAR_OPTIONS": "--mode=0777 --owner=7",
    "XZ_OPT": "-0",
    "XZ_DEFAULTS": "--threads=1",
    "SOURCE_DATE_EPOCH": "1",
    "POSIXLY_CORRECT": "1",
    "PYTHONHASHSEED": "7",
    "LD_BIND_NOW": "1",
}


@dataclass(frozen=True)
class Place:
    """The differences of one environment from the plain one."""

    env: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    before: tuple[str, ...] = ()  # command words that set up a process and run the rest
    backwards: bool = False  # the files are made in the opposite order
    owner: int = 0
    stamp: int | None = None  # the time stamp of all files of the checkout
    folder: str = "here"


FIRST_CORE = str(min(os.sched_getaffinity(0)))

PLACES = {
    "plain": Place(),
    "umask 077": Place(before=("sh", "-c", 'umask 077; exec "$@"', "-")),
    "umask 000": Place(before=("sh", "-c", 'umask 000; exec "$@"', "-")),
    "time zone": Place({"TZ": "Asia/Kathmandu"}),
    "language": Place({"LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8", "LANGUAGE": "tr"}),
    "home": Place({"HOME": "/nowhere", "TMPDIR": "/dev/shm", "USER": "other", "LOGNAME": "other"}),
    "one core": Place(options=("--cores", "1"), before=("taskset", "--cpu-list", FIRST_CORE)),
    "options": Place(OPTIONS),
    "host name": Place(before=("unshare", "--uts", "sh", "-c", 'hostname elsewhere; exec "$@"', "-")),
    "order of files": Place(backwards=True),
    "another user's old checkout": Place(owner=1234, stamp=981173106),
    "other paths": Place(folder="somewhere else, é", stamp=4102444800),
}


def lay_out(base: Path, place: Place) -> Path:
    """Write the project of an environment."""
    project = base / place.folder / "project"
    files = sorted(FILES.items(), reverse=place.backwards)
    for name, text in files:
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755 if "/bin/" in name else 0o644)
    write_project(project, PROJECT)
    for path in (project, *project.rglob("*")):
        os.chown(path, place.owner, place.owner)
        if path.is_dir():
            path.chmod(0o755)
    for path in sorted(project.rglob("*"), reverse=True):
        if place.stamp is not None:
            os.utime(path, (place.stamp, place.stamp))
    return project


def result(project: Path, store: Path) -> dict[str, Any]:
    """Return the keys of a project that was built, and the digests of what it shipped."""
    metas = [json.loads(path.read_text(encoding="utf-8")) for path in store.glob("*/*/meta.json")]
    shipped = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (project / "out").iterdir()}
    return {"keys": {meta["node"]: meta["key"] for meta in metas}, "shipped": shipped}


def made_in(base: Path, place: Place) -> dict[str, Any]:
    """Build the project in an environment."""
    project, store = lay_out(base, place), base / place.folder / "store"
    words = [*place.before, *command("build", "--progress=quiet", *place.options, cwd=project, store=store)]
    done = subprocess.run(words, env={**os.environ, **place.env}, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{place}\n{done.stderr}"
    return result(project, store)


def test_twelve_environments_give_the_same_bytes(tmp_path: Path) -> None:
    folders = {name: tmp_path / str(number) for number, name in enumerate(PLACES)}
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(PLACES, pool.map(made_in, folders.values(), PLACES.values()), strict=True))
    assert set(found["plain"]["keys"]) == {"seed:base", "packed"}
    assert len(found["plain"]["shipped"]) == 5
    assert {name: made for name, made in found.items() if made != found["plain"]} == {}


def test_a_time_stamp_ahead_of_the_clock_is_set_and_reported(tmp_path: Path) -> None:
    project = lay_out(tmp_path, Place())
    settings = project / "stagewright.toml"
    made = '[stages.made]\nkind = "stage4"\nroot = "base"\nhostname = "box"\nrm = ["/usr/share/text"]\n'
    text = settings.read_text(encoding="utf-8").replace("2026-11-20", "2099-01-01")
    text = text.replace("[stages.packed]", f"{made}\n[stages.packed]").replace(
        'root = "base"\ncomp', 'root = "made"\ncomp'
    )
    settings.write_text(text, encoding="utf-8")
    said = build(cwd=project, store=tmp_path / "first").stdout
    assert "source_date_epoch (2099-01-01 00:00:00 UTC) is ahead of the clock" in said
    listing = subprocess.run(
        ["tar", "--list", "--verbose", "--utc", "--file", project / "out" / "made-amd64-1.tar.xz"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {line.split()[3] for line in listing.splitlines()} == {"2099-01-01"}
    words = command("check", cwd=project, store=tmp_path / "first")
    assert "is ahead of the clock" in subprocess.run(words, capture_output=True, text=True, check=True).stderr


def test_the_owners_of_a_folder_are_the_words_of_the_project(tmp_path: Path) -> None:
    """The key has the owners of a checkout only if they are kept."""
    project = lay_out(tmp_path, Place(owner=1234))
    write_project(project, '[seeds.base]\nfile = "root"\nowners = "keep"\n')
    (project / "root").rename(project / "there")
    (project / "root").symlink_to("there")
    for name in ("etc/skel/.gitignore", "usr/share/CVS/file", "usr/share/.git/config"):
        (project / "root" / name).parent.mkdir(parents=True)
        (project / "root" / name).write_text("", encoding="utf-8")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(project / "root/usr/bin/tool", "security.capability", capability)
    build("base", cwd=project, store=tmp_path / "store")
    (tool,) = tmp_path.glob("store/layers/*/tree/usr/bin/tool")
    assert owner_in_layer(tool) == (1234, 1234)
    ids = owner() or IdRange(0, 0)
    assert capability_of(os.getxattr(tool, "security.capability"), ids.uid) == capability
    found = {path.name for path in tool.parents[2].rglob("*")}
    assert {".gitignore", "CVS", "file"} <= found and not {".git", "config"} & found, "only .git is no content"
    for name in ("usr/bin/tool", "."):  # tar packs the folder that the link leads to
        os.chown(project / "root" / name, 7, 7)
        assert plan("base", cwd=project, store=tmp_path / "store")["seed:base"]["state"] == "build"
        build("base", cwd=project, store=tmp_path / "store")
