"""Settings of seeds from other machines: they are checked before anything is fetched."""

from __future__ import annotations

import io
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stagewright.arch import Arch
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.graph.keys import Key
from stagewright.graph.node import Node, Yields
from stagewright.kinds.common.archived import PinnedSeed, pin_of
from stagewright.kinds.common.context import SeedContext
from stagewright.kinds.common.work import Grant, Work
from stagewright.kinds.registry import graph_of, kinds
from stagewright.kinds.seeds.mirror import MirrorSeed
from stagewright.project.load import load
from stagewright.seeds import gentoo
from stagewright.seeds.oci_image import choose_image, split_reference
from stagewright.store.collect import collect, unused_caches, unused_seeds
from stagewright.store.store import Store

HEAD = 'format = 1\nproject = { name = "p", version = "1", source_date_epoch = 2026-11-20 }\n[seeds.it]\n'
DIGEST = "0123456789abcdef" * 4
MIRROR = 'mirror = "https://example.org"\nvariant = "stage3-amd64-systemd"\n'


def write(folder: Path, text: str) -> Path:
    (folder / "stagewright.toml").write_text(HEAD + text, encoding="utf-8")
    return folder


BAD = {
    "no web address": ('mirror = "ftp://example.org"\nvariant = "stage3-amd64-openrc"', Reason.INVALID_VALUE),
    "no variant": ('mirror = "https://example.org"', Reason.MISSING_KEY),
    "a variant with a path": ('mirror = "https://example.org"\nvariant = "../stage3-amd64"', Reason.INVALID_VALUE),
    "a short fingerprint": (MIRROR + 'keys = ["2D182910"]', Reason.INVALID_VALUE),
    "no keys at all": (MIRROR + "keys = []", Reason.INVALID_VALUE),
    "no keyring there": (MIRROR + 'keyring = "keys.asc"', Reason.MISSING_FILE),
    "no mirrors": ('mirror = []\nvariant = "stage3-amd64-openrc"', Reason.INVALID_VALUE),
    "nothing to verify by": ('url = "https://example.org/x.tar"', Reason.INVALID_VALUE),
    "a signature without keys": (
        'url = "https://example.org/x"\nsignature = "https://example.org/x.asc"',
        Reason.INVALID_VALUE,
    ),
    "a digest that is none": ('url = "https://example.org/x"\nsha256 = "abc"', Reason.INVALID_VALUE),
    "an image without a registry": ('oci = "gentoo/stage3"', Reason.INVALID_VALUE),
    "an image with a short digest": ('oci = "docker.io/gentoo/stage3@sha256:12"', Reason.INVALID_VALUE),
    "no such project": ('project = "../other"\nstage = "x"', Reason.NO_PROJECT),
    "the project itself": ('project = "."\nstage = "x"', Reason.CYCLE),
    "a strange limit": (MIRROR + 'limits = { size = "many" }', Reason.INVALID_VALUE),
    "a pattern of a relative path": ('bootstrap = "debian"\npackages = []\nexclude = ["lib/*"]', Reason.INVALID_VALUE),
    "a pattern with a new line": ('bootstrap = "debian"\npackages = []\nexclude = ["/a\\nno-x"]', Reason.INVALID_VALUE),
    "no members": (MIRROR + "limits = { members = 0 }", Reason.INVALID_VALUE),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_setting_is_reported(tmp_path: Path, case: str) -> None:
    text, reason = BAD[case]
    with pytest.raises(ProblemsError) as caught:
        load(write(tmp_path, text), kinds())
    problems = list(caught.value.problems)
    assert reason in {problem.reason for problem in problems}, problems
    assert all(problem.place for problem in problems), problems


def test_the_source_of_a_seed_does_not_change_its_key(tmp_path: Path) -> None:
    (tmp_path / "keys.asc").write_text("keys", encoding="utf-8")
    nodes = []
    for text in (
        MIRROR,
        MIRROR.replace("example.org", "example.net") + 'keyring = "keys.asc"\nlimits = { members = 7 }',
    ):
        nodes.append(graph_of(load(write(tmp_path, text), kinds())).nodes["seed:it"])
    assert nodes[0].settings.for_key() == nodes[1].settings.for_key()
    assert nodes[0].files.settings == nodes[1].files.settings == {}
    assert nodes[1].files.sources == {"keys.asc": tmp_path / "keys.asc"}
    assert isinstance(nodes[1].settings, MirrorSeed)
    assert nodes[1].settings.mirror == "https://example.net"


@pytest.mark.parametrize("kind", [kind for kind, model in kinds()["seeds"].items() if issubclass(model, PinnedSeed)])
def test_a_pin_without_its_entries_is_stale(tmp_path: Path, kind: str) -> None:
    model = kinds()["seeds"][kind]
    assert issubclass(model, PinnedSeed)
    required = {name for name, field in model.pin_model.model_fields.items() if field.is_required()}
    for pin in (None, {"request": "x"}, dict.fromkeys(required)):
        node = Node("seed:it", kind, Yields.LAYER, context=SeedContext(source_date_epoch=1, pin=pin))
        work = Work[Any](node, Key.of({}), {}, Grant(), (), tmp_path, Store(tmp_path), io.StringIO(), lambda _: None)
        with pytest.raises(StagewrightError) as caught:
            pin_of(work, model.pin_model)
        assert caught.value.reason is Reason.LOCK_STALE
        assert required and all(name in caught.value.message for name in required)


TAMPERED: list[Any] = [
    7,
    -1,
    10**40,
    1.5,
    True,
    "",
    "../../etc/passwd",
    "/etc/passwd",
    "\x1b[2J",
    "x" * 10**6,
    ["a"],
    {},
]


@pytest.mark.parametrize("kind", [kind for kind, model in kinds()["seeds"].items() if issubclass(model, PinnedSeed)])
def test_a_tampered_pin_is_stale(tmp_path: Path, kind: str) -> None:
    """Its entries become names of files in the store and words of commands, so each has a form."""
    model = kinds()["seeds"][kind]
    assert issubclass(model, PinnedSeed)
    required = {name for name, field in model.pin_model.model_fields.items() if field.is_required()} - {"project"}
    for pin in (dict.fromkeys(required, value) for value in TAMPERED):
        node = Node("seed:it", kind, Yields.LAYER, context=SeedContext(source_date_epoch=1, pin=pin))
        work = Work[Any](node, Key.of({}), {}, Grant(), (), tmp_path, Store(tmp_path), io.StringIO(), lambda _: None)
        with pytest.raises(StagewrightError) as caught:
            pin_of(work, model.pin_model)
        assert caught.value.reason is Reason.LOCK_STALE


@pytest.mark.parametrize("arch", ["no-such-arch", 7, ["amd64"], {}])
def test_a_tampered_architecture_does_not_keep_a_project_from_being_read(tmp_path: Path, arch: Any) -> None:
    """`stagewright update` can repair the lock."""
    project = load(write(tmp_path, 'bootstrap = "debian"\npackages = ["gcc"]'), kinds())
    lock = replace(project.lock, seeds={"it": {"arch": arch}})
    assert graph_of(replace(project, lock=lock)).nodes["seed:it"].tools == ()


@pytest.mark.parametrize(
    ("variant", "folder"),
    [
        ("stage3-amd64-systemd", "amd64"),
        ("stage3-i686-openrc", "x86"),
        ("stage3-armv7a_hardfp-openrc", "arm"),
        ("stage3-rv64_lp64d-openrc", "riscv"),
        ("stage3-ppc64le-openrc", "ppc"),
        ("stage3-power10le-openrc", "ppc"),
        ("stage3-hppa2.0-openrc", "hppa"),
        ("stage3-x32-openrc", "amd64"),
        ("stage3-s390x-systemd", "s390"),
    ],
)
def test_the_folder_of_a_variant(variant: str, folder: str) -> None:
    assert gentoo.directory(variant, None) == folder


def test_references_of_images_are_split() -> None:
    assert split_reference("docker.io/gentoo/stage3:systemd") == ("docker.io/gentoo/stage3", "systemd")
    assert split_reference("localhost:5000/x/y") == ("localhost:5000/x/y", "latest")
    assert split_reference(f"ghcr.io/x/y:tag@sha256:{DIGEST}") == ("ghcr.io/x/y", f"sha256:{DIGEST}")


@pytest.mark.parametrize(
    ("arch", "platforms", "expected"),
    [
        (Arch.AMD64, ["linux/arm64", "linux/amd64"], "linux/amd64"),
        (Arch.ARM, ["linux/arm/v5", "linux/arm/v7", "linux/arm64"], "linux/arm/v7"),
        (Arch.ARM, ["linux/arm"], "linux/arm"),
        (Arch.ARM, ["linux/arm/v5"], ""),
        (Arch.X86, ["linux/amd64"], ""),
    ],
)
def test_the_image_of_an_architecture_is_chosen(arch: Arch, platforms: list[str], expected: str) -> None:
    assert choose_image({platform: platform for platform in platforms}, arch) == expected


def test_the_time_stamp_in_a_file_name() -> None:
    assert gentoo.stamp_of("stage3-amd64-systemd-20261115T170000Z.tar.xz", "stage3-amd64-systemd") == "20261115T170000Z"
    assert gentoo.stamp_of("stage3-amd64-systemd-20261115T170000Z.tar.xz", "stage3-amd64") == ""
    assert gentoo.day_of("20261115T170000Z") == "2026-11-15"


def test_unused_fetched_seeds_are_garbage(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for name, days in (("old", 31), ("new", 1)):
        file = store.cache("seeds") / name / f"{name}.tar.xz"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x" * 10_000)
        os.utime(file.parent, (time.time() - days * 86400,) * 2)
    (garbage,) = unused_seeds(store, 30)
    assert garbage.what == "fetched seed old.tar.xz"
    collect(store, [garbage])
    assert [path.name for path in store.cache("seeds").iterdir()] == ["new"]


def test_unused_debian_packages_and_indexes_are_garbage(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for name, days in (("packages/aa", 31), ("packages/bb", 1), ("indexes/cc", 31), (".new.dd", 31)):
        file = store.cache("debian") / name / "hello_1.0_all.deb"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x" * 10_000)
        os.utime(file.parent, (time.time() - days * 86400,) * 2)
    garbage = unused_caches(store, 30)
    assert sorted(item.what for item in garbage) == [
        "Debian package hello_1.0_all.deb",
        "package indexes hello_1.0_all.deb",
        "unfinished copy hello_1.0_all.deb",
    ]
    collect(store, garbage)
    assert [path.name for path in store.cache("debian").glob("**/*.deb")] == ["hello_1.0_all.deb"]
    assert (store.cache("debian") / "packages/bb").is_dir()
