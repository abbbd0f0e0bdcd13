"""oci: an image of a container registry, layers and whiteouts included; tampered with, it is refused and not kept."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from integration import registry
from integration.archives import folder, hard_link, link, member
from integration.seed_world import OUT, SeedBench, builds, seed_in, tarball
from integration.support import call
from stagewright.errors import Reason, StagewrightError

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registry.Registry]:
    if missing := registry.missing():
        pytest.skip(f"NOT TESTED: {', '.join(missing)} not installed (packages/install installs them)")
    with registry.serve(tmp_path_factory.mktemp("registry") / "data") as running:
        yield running


@dataclass
class Image:
    """An image in the registry, to tamper with."""

    registry: registry.Registry
    digest: str

    def manifest(self) -> Path:
        return self.registry.blob(self.digest)

    def layer(self) -> Path:
        return self.registry.blob(json.loads(self.manifest().read_text(encoding="utf-8"))["layers"][0]["digest"])


def in_manifest(old: bytes, new: bytes) -> Callable[[Image], None]:
    return lambda image: rewrite(image.manifest(), image.manifest().read_bytes().replace(old, new))


def rewrite(path: Path, content: bytes) -> None:
    assert path.read_bytes() != content
    path.write_bytes(content)


NOISE = os.urandom(100_000)

OCI: dict[str, tuple[Sequence[Sequence[Any]], Callable[[Image], object], str, tuple[Reason, ...]]] = {
    "manifest altered": ([], in_manifest(b'"size"', b'"s1ze"'), "", (Reason.DIGEST_MISMATCH,)),
    "another layer in the manifest": (
        [],
        lambda image: rewrite(
            image.manifest(), re.sub(rb"(layers.*sha256:)....", rb"\g<1>0000", image.manifest().read_bytes())
        ),
        "",
        (Reason.DIGEST_MISMATCH,),
    ),
    "layer altered": (
        [[member("usr/noise", NOISE)]],
        lambda image: rewrite(image.layer(), image.layer().read_bytes()[:-9] + b"012345678"),
        "",
        (Reason.DIGEST_MISMATCH,),
    ),
    "layer cut short": (
        [[member("usr/noise", NOISE)]],
        lambda image: rewrite(image.layer(), image.layer().read_bytes()[:-1000]),
        "",
        (Reason.DIGEST_MISMATCH, Reason.WRONG_LENGTH, Reason.FETCH_CUT),
    ),
    "layer missing": ([], lambda image: image.layer().unlink(), "", (Reason.NOT_FOUND, Reason.FETCH_FAILED)),
    "another architecture": ([], lambda image: None, 'arch = "s390"', (Reason.INVALID_VALUE,)),
    "name with dots": ([[member("../evil", b"x")]], lambda image: None, "", (Reason.UNSAFE_ARCHIVE,)),
    "through a link": (
        [[link("usr/x", OUT), member("usr/x/evil", b"x")]],
        lambda image: None,
        "",
        (Reason.UNSAFE_ARCHIVE,),
    ),
    "hard link out": ([[hard_link("usr/x", "/etc/passwd")]], lambda image: None, "", (Reason.UNSAFE_ARCHIVE,)),
}


@pytest.mark.parametrize("case", OCI)
def test_an_image_that_was_tampered_with_is_refused(
    bench: SeedBench, images: registry.Registry, tmp_path: Path, case: str
) -> None:
    layers, tamper, more, reasons = OCI[case]
    name = f"seeds/{case.replace(' ', '-')}"
    content = [tarball(member("usr/name", name.encode()), *members) for members in layers or [[]]]
    digest = registry.image(tmp_path / "image", content, others=["arm64"])
    images.push(tmp_path / "image", f"{name}:latest")
    tamper(Image(images, digest))
    with pytest.raises(StagewrightError) as caught:
        bench.seed(f'[seeds.it]\noci = "{images.address}/{name}"\ntls = false\n{more or AMD64}')
    assert caught.value.reason in reasons, caught.value
    assert caught.value.hint, caught.value
    assert [path for path in bench.kept() if caught.value.reason is not Reason.UNSAFE_ARCHIVE] == []


AMD64 = 'arch = "amd64"'


def test_an_unknown_tag_is_reported(bench: SeedBench, images: registry.Registry) -> None:
    with pytest.raises(StagewrightError) as caught:
        bench.seed(f'[seeds.it]\noci = "{images.address}/no/such:tag"\ntls = false\n')
    assert caught.value.reason is Reason.NOT_FOUND


def test_a_manifest_that_differs_from_its_digest_is_refused(
    bench: SeedBench, images: registry.Registry, tmp_path: Path
) -> None:
    digest = registry.image(tmp_path / "image", [tarball()])
    images.push(tmp_path / "image", "seeds/pinned:latest")
    rewrite(images.blob(digest), images.blob(digest).read_bytes() + b" ")
    with pytest.raises(StagewrightError) as caught:
        bench.seed(f'[seeds.it]\noci = "{images.address}/seeds/pinned@{digest}"\ntls = false\n')
    assert caught.value.reason is Reason.DIGEST_MISMATCH
    assert bench.kept() == []


def test_the_demo_from_a_registry(demo: Path, fresh: Callable[..., Path], packed: Path, tmp_path: Path) -> None:
    if missing := registry.missing():
        pytest.skip(f"NOT TESTED: {', '.join(missing)} not installed (packages/install installs them)")
    store = fresh("seed:debian-boot")
    above = tarball(
        folder("usr/share"),
        folder("usr/share/perl"),
        member("usr/share/perl/.wh..wh..opq", b""),
        member(".wh.srv", b""),
    )
    with registry.serve(tmp_path / "registry") as images:
        digest = registry.image(tmp_path / "image", [packed.read_bytes(), above], others=["riscv64"])
        images.push(tmp_path / "image", "gentoo/stage3:systemd")
        table = f'[seeds.it]\noci = "{images.address}/gentoo/stage3:systemd"\ntls = false\narch = "amd64"\n'
        manifest = builds(demo, store, table)
    entry = seed_in(manifest)
    assert entry["kind"] == "oci"
    assert entry["archive"]["digest"] == digest  # type: ignore[index]
    key = states_key(demo, store)
    tree = store / "layers" / key / "tree"
    assert not (tree / "srv").exists()
    assert list((tree / "usr/share/perl").iterdir()) == []
    assert (tree / "etc/os-release").exists()


def states_key(project: Path, store: Path) -> str:
    return str(call("plan", "--json", "debian", cwd=project, store=store).plan["seed:debian"]["key"])
