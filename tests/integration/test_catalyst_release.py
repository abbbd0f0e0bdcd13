"""A release of Catalyst's specs, through to an ISO that boots: all at once, then by a script that calls catalyst."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.support import MINUTES, REPOSITORY, Run, Warm, call, copy_project, finished, use_seed
from stagewright.testing.boot import boot
from stagewright.testing.script import BootScript
from stagewright.vm import accel
from stagewright.vm.machine_spec import MachineSpec

pytestmark = pytest.mark.real

STAMP = "20261120T000000Z"
TARBALLS = ("stage1-amd64-live", "stage3-amd64-live", "livecd-stage1-amd64-live", "system-amd64-greeting")


@dataclass(frozen=True)
class Site:
    """A copy of the examples, a storedir that is prepared, a store, and the environment of scripts."""

    folder: Path
    storedir: Path
    store: Path
    env: dict[str, str]

    @property
    def conf(self) -> Path:
        return self.storedir / "catalyst.conf"

    @property
    def builds(self) -> Path:
        return self.storedir / "builds/demo"

    @property
    def commit(self) -> str:
        git = ["git", "--git-dir", self.storedir / "repos/stages.git", "rev-parse", "HEAD"]
        return subprocess.check_output(git, text=True).strip()

    def script(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program of the example."""
        done = subprocess.run(
            words, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=30 * MINUTES, check=False
        )
        assert not check or done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def release(self, command: str, *words: str) -> Run:
        """``stagewright catalyst COMMAND`` for all specs of the release."""
        given = ["--set", f"TREEISH={self.commit}", "--set", f"TIMESTAMP={STAMP}"]
        confs = ["--conf", str(self.conf), "--conf", str(self.folder / "tools/catalyst-auto-demo.conf")]
        return call("catalyst", command, *words, *confs, *given, cwd=self.folder, store=self.store, env=self.env)


@pytest.fixture(scope="module")
def site(seed: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A storedir as ``prepare`` leaves it, with the shared seed."""
    top = tmp_path_factory.mktemp("release")
    copy_project(REPOSITORY / "examples/stages/repo", top / "stages/repo")
    folder = copy_project(REPOSITORY / "examples/catalyst", top / "catalyst")
    use_seed(folder / "seed", seed)
    store = seed.copy(["seed:debian"], binpkgs=False)
    (top / "bin").mkdir()
    catalyst = top / "bin/catalyst"
    catalyst.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'from stagewright.dropin.main import main; main()' \"$@\"\n",
        encoding="utf-8",
    )
    catalyst.chmod(0o755)
    stagewright = top / "bin/stagewright"
    stagewright.write_text(
        f'#!/bin/sh\nexec {sys.executable} -m stagewright --store "{store}" "$@"\n', encoding="utf-8"
    )
    stagewright.chmod(0o755)
    env = {**os.environ, "PATH": f"{top}/bin:{os.environ['PATH']}", "STAGEWRIGHT_STORE": str(store)}
    place = Site(folder, top / "storedir", store, env)
    place.script("./prepare", place.storedir)
    place.script("catalyst", "-c", place.conf, "-s", "stable")
    yield place
    shutil.rmtree(store)


@pytest.fixture(scope="module")
def built(site: Site) -> Run:
    """The release, built all at once."""
    return site.release("build", "--progress=json")


def test_results_lie_where_catalyst_leaves_them(built: Run, site: Site) -> None:
    assert {event["status"] for event in finished(built.events)} == {"built"}
    names = [*(f"{name}-{STAMP}.tar.zst" for name in TARBALLS), f"live-amd64-{STAMP}.iso"]
    for name in names:
        file = site.builds / name
        assert file.stat().st_nlink > 1, "a hard link to the store's"
        for end in ("CONTENTS.gz", "DIGESTS", "sha256", "manifest.json"):
            assert (site.builds / f"{name}.{end}").is_file()
        check = ["sha256sum", "--check", f"{name}.sha256"]
        subprocess.run(check, cwd=site.builds, check=True, capture_output=True)
        lines = (site.builds / f"{name}.DIGESTS").read_text(encoding="utf-8").splitlines()
        assert lines[0] == "# BLAKE2B HASH" and lines[1].endswith(f"  {name}")
        assert lines[2] == "# SHA512 HASH" and lines[7].endswith(f"  {name}.CONTENTS.gz")
    listing = gzip.decompress((site.builds / f"{names[-1]}.CONTENTS.gz").read_bytes()).decode()
    assert "image.squashfs" in listing
    index = (site.storedir / "packages/demo/stage3-amd64/Packages").read_text(encoding="utf-8")
    assert "CPV: sys-kernel/dracut-1" in index


def test_what_the_specs_say_is_in_the_results(built: Run, site: Site) -> None:
    def contents(name: str) -> str:
        return gzip.decompress((site.builds / f"{name}-{STAMP}.tar.zst.CONTENTS.gz").read_bytes()).decode()

    system = site.builds / f"system-amd64-greeting-{STAMP}.tar.zst"
    passwd = subprocess.check_output(["tar", "-xOf", system, "./etc/passwd"], text=True)
    group = subprocess.check_output(["tar", "-xOf", system, "./etc/group"], text=True)
    assert "\nvisitor:" in passwd
    assert any(line.startswith("staff:") and line.endswith("visitor") for line in group.splitlines())
    assert "./usr/bin/greeter" in contents("system-amd64-greeting")
    assert "./usr/bin/greeter" not in contents("stage3-amd64-live")
    for name, kept in (("stage1-amd64-live", ()), ("stage3-amd64-live", ("package.license/own",))):
        files = [line.split()[5] for line in contents(name).splitlines() if line.startswith("-")]
        assert {f"./etc/portage/{file}" for file in kept} == {
            file for file in files if file.startswith("./etc/portage/package.")
        }
    assert "./etc/portage/package.use/releng" in contents("livecd-stage1-amd64-live"), "it has no portage_prefix"
    make_conf = subprocess.check_output(["tar", "-xOf", system, "./etc/portage/make.conf"], text=True)
    assert "\nLC_MESSAGES=C.UTF-8\n" in make_conf
    manifest = json.loads((site.builds / f"live-amd64-{STAMP}.iso.manifest.json").read_text(encoding="utf-8"))
    assert {"sys-kernel/live-kernel-1", "app-misc/greeter-1.0"} <= {package["name"] for package in manifest["packages"]}


@pytest.mark.boot
def test_the_iso_boots(built: Run, site: Site, tmp_path: Path) -> None:
    image = site.builds / f"live-amd64-{STAMP}.iso"
    machine = MachineSpec(firmware="uefi", memory=1536, cpus=2, cdrom=image)
    script = BootScript(expect=("Welcome to", "good (morning|day|evening|night)", "login: "), seconds=600)
    acceleration = accel.probe(cache=site.store / "cache/acceleration.json")
    report = boot(machine, script, tmp_path, acceleration, lambda _: None)
    assert report.seconds > 0


def test_a_script_that_calls_catalyst_finds_everything_built(built: Run, site: Site) -> None:
    before = {path.name: path.stat().st_ino for path in site.builds.iterdir() if path.suffix in (".zst", ".iso")}
    words = ["tools/build-release", "-c", "tools/catalyst-auto-demo.conf", "--catalyst-config", str(site.conf), "-k"]
    said = site.script(*words).stdout
    work = Path(said.split("logs and specs: ")[1].strip())
    logs = {path.name: path.read_text(encoding="utf-8") for path in (work / "log").iterdir()}
    shutil.rmtree(work)
    assert f"release {STAMP} of {site.commit}" in said
    for spec in ("stage1-live", "stage3-live", "livecd-stage1", "livecd-stage2", "stage4-greeting"):
        assert f"{spec}.spec is built" in said
        assert ": started (" not in logs[f"{spec}.log"], "nothing is built a second time"
    assert "would upload what livecd-stage2.spec of live made" in said
    after = {path.name: path.stat().st_ino for path in site.builds.iterdir() if path.suffix in (".zst", ".iso")}
    assert after == before


def test_a_spec_that_fails_stops_its_set(built: Run, site: Site) -> None:
    spec = site.folder / "specs/stage3-live.spec"
    text = spec.read_text(encoding="utf-8")
    spec.write_text(
        text.replace("profile: default/linux/amd64/live", "profile: default/linux/amd64/lively"), encoding="utf-8"
    )
    words = ["tools/build-release", "-c", "tools/catalyst-auto-demo.conf", "--catalyst-config", str(site.conf)]
    try:
        done = site.script(*words, check=False)
    finally:
        spec.write_text(text, encoding="utf-8")
    work = Path(done.stdout.split("logs and specs: ")[1].strip())
    shutil.rmtree(work)
    assert done.returncode == 1
    assert "=== stage3-live.spec failed" in done.stdout
    assert "ERROR   : error: " in done.stdout
    assert "specs/stage3-live.spec:5:" in done.stdout, "the place of the mistake"
    assert "livecd-stage1.spec is built" not in done.stdout


def test_a_tarball_that_was_changed_is_a_seed(built: Run, site: Site, tmp_path: Path) -> None:
    """Its note no longer counts: the spec that stands on it would unpack it."""
    tarball = site.builds / f"stage3-amd64-live-{STAMP}.tar.zst"
    content = tarball.read_bytes()
    spec = tmp_path / "stage4.spec"
    text = (site.folder / "specs/stage4-greeting.spec").read_text(encoding="utf-8")
    for token, value in (("TIMESTAMP", STAMP), ("TREEISH", site.commit), ("REPO_DIR", str(site.folder))):
        text = text.replace(f"@{token}@", value)
    spec.write_text(text, encoding="utf-8")
    tarball.unlink()
    tarball.write_bytes(content)
    done = site.script("catalyst", "-c", site.conf, "-f", spec)
    assert ": started (file)" in done.stdout
    assert "stage1" not in done.stdout
