"""Roots of another architecture: made, built in, packed and entered like any other."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.support import (
    DEMO,
    REPOSITORY,
    Run,
    Warm,
    build,
    call,
    command,
    copy_project,
    edit,
    notices,
    write_project,
)
from stagewright.arch import HEADER, Arch, Machine, host_machine

HERE = REPOSITORY / "examples" / "arm64"
PROGRAM = shutil.which("qemu-aarch64-static")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(PROGRAM is None, reason="NOT TESTED: qemu-user-static is not installed"),
    pytest.mark.skipif(host_machine().arch is Arch.ARM64, reason="NOT TESTED: this computer runs arm64 itself"),
]

SEED = '[seeds.it]\nbootstrap = "debian"\narch = "{arch}"\npackages = []\n'

FROM_A_FILE = """
[seeds.file]
file = "seed.tar.zst"
{more}
[stages.live]
kind = "livecd-stage1"
root = "file"
script = "works"
"""


def registered() -> bool:
    """True if the system has registered an emulator itself."""
    return any(Path("/proc/sys/fs/binfmt_misc").glob("*aarch64*"))


@dataclass(frozen=True)
class Example:
    """The example, and what a build of it from the warm seed left."""

    project: Path
    store: Path
    run: Run

    @property
    def tarball(self) -> Path:
        return self.project / "out" / "small-arm64-1.0.tar.zst"

    def log(self, name: str) -> str:
        return call("log", name, cwd=self.project, store=self.store).stdout


@pytest.fixture(scope="module")
def example(store_path: Path) -> Iterator[Example]:
    folder = store_path / "foreign"
    folder.mkdir(exist_ok=True)
    with (store_path / "foreign.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(folder / "demo", ignore_errors=True)
        copy_project(DEMO, folder / "demo")
        warm = Warm.fill(folder, HERE, "debian")
        store = warm.copy(["seed:debian"], binpkgs=False)
        edit(folder / "project", "accept_keywords", "binpkgs = false\naccept_keywords")  # packing them takes its time
        edit(folder / "project", '"sys-apps/demo-baselayout", ', "")  # emulated, one package takes half a minute
        shutil.rmtree(folder / "project" / "out", ignore_errors=True)
        yield Example(folder / "project", store, build("packed", cwd=folder / "project", store=store))
        shutil.rmtree(store)


def test_packages_are_compiled_for_the_other_architecture(example: Example) -> None:
    assert example.run.built() == {"system", "small", "packed"}
    listing = subprocess.run(["tar", "-tf", example.tarball], check=True, capture_output=True, text=True).stdout.split()
    assert "./usr/bin/hello" in listing
    assert not [name for name in listing if "qemu" in name or "binfmt" in name]
    words = ["tar", "-xOf", example.tarball, "./usr/bin/hello"]
    program = subprocess.run(words, check=True, capture_output=True).stdout
    machine = Machine.of(program[:HEADER])
    assert machine and machine.arch is Arch.ARM64
    assert "\nhello, script, from a program that Portage built\n" in example.log("small")


def test_the_seed_was_pinned_for_it(example: Example) -> None:
    assert 'arch = "arm64"' in (example.project / "stagewright.lock").read_text(encoding="utf-8")
    (seed,) = (node for node in manifest(example)["lineage"] if node["id"] == "seed:debian")
    assert seed["pin"]["arch"] == "arm64"
    keys = json.loads(call("plan", "packed", "--keys", cwd=example.project, store=example.store).stdout)
    assert re.fullmatch(r"\d+\.\d+.*", keys["seed:debian"]["tools"]["qemu-aarch64-static"])


def manifest(example: Example) -> dict[str, list[dict[str, dict[str, str]]]]:
    data: dict[str, list[dict[str, dict[str, str]]]] = json.loads(
        example.tarball.with_name(f"{example.tarball.name}.manifest.json").read_text(encoding="utf-8")
    )
    return data


def test_shell_enters_a_root_of_another_architecture(example: Example) -> None:
    def ask(stage: str, *words: str, options: Sequence[str] = ()) -> str:
        return call("shell", *options, stage, "--", *words, cwd=example.project, store=example.store).stdout

    assert ask("small", "hello", "there") == "hello, there, from a program that Portage built\n"
    before = ["--before"]  # the system itself is too small for these programs
    assert ask("system", "uname", "-m", options=before) == "aarch64\n"
    said = ask("system", "bash", "-c", "exec -a another bash -c 'echo $0'", options=before)
    assert said == "another\n"  # argv[0] is what was said
    assert ask("system", "find", "/usr/bin", "-name", "qemu-*", options=before) == ""


@pytest.fixture
def unpacked(example: Example, tmp_path: Path) -> Path:
    """A project whose seed is the tarball."""
    project = write_project(tmp_path / "project", FROM_A_FILE.format(more='arch = "arm64"'))
    shutil.copy(example.tarball, project / "seed.tar.zst")
    shutil.copy(HERE / "works", project)
    return project


def test_a_packed_seed_runs_on_an_emulator(unpacked: Path, tmp_path: Path) -> None:
    run = build("live", cwd=unpacked, store=tmp_path / "store")
    assert run.built() == {"seed:file", "live"}
    assert any("qemu-aarch64-static" in note for note in notices(run)) or registered()
    log = call("log", "live", cwd=unpacked, store=tmp_path / "store").stdout
    assert "\nhello, script, from a program that Portage built\n" in log


@pytest.mark.parametrize(("more", "said"), [('arch = "riscv"', "riscv"), ("", str(host_machine().arch))])
def test_a_packed_seed_of_another_architecture_is_refused(unpacked: Path, tmp_path: Path, more: str, said: str) -> None:
    """Names of files and tests of machines follow `arch`, so it is never guessed."""
    write_project(unpacked, FROM_A_FILE.format(more=more))
    run = build("live", cwd=unpacked, store=tmp_path / "store", check=False)
    assert run.code == 2
    assert run.reasons["seed:file"] == "bad-archive"
    assert 'arch = "arm64"' in run.stderr and said in run.stderr


def test_names_follow_the_seed(unpacked: Path, tmp_path: Path) -> None:
    packed = '[stages.a]\nkind = "tarball"\nroot = "a-root"\n[seeds.a-root]\nfile = "seed.tar.zst"\narch = "arm64"\n'
    write_project(unpacked, packed)
    build(cwd=unpacked, store=tmp_path / "store")
    assert {path.name for path in (unpacked / "out").glob("*.tar.zst")} == {"a-root-arm64-1.tar.zst"}


def build_without_emulator(project: Path, store: Path) -> Run:
    words = command("build", "--progress=json", cwd=project, store=store)
    hide = ["unshare", "--mount", "sh", "-c", f'mount --bind /dev/null {PROGRAM} && exec "$@"', "sh"]
    done = subprocess.run([*hide, *words], capture_output=True, text=True, check=False)
    run = Run(tuple(words), done.returncode, done.stdout, done.stderr)
    assert run.code == 3, run
    assert "apt install qemu-user-static" in run.stderr
    return run


def test_without_an_emulator_nothing_is_begun(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", SEED.format(arch="arm64"))
    run = build_without_emulator(project, tmp_path / "store")
    assert run.events == []
    assert not (project / "stagewright.lock").exists()


@pytest.mark.skipif(registered(), reason="NOT TESTED: the system has an emulator registered itself")
def test_without_an_emulator_a_packed_seed_cannot_be_built_upon(unpacked: Path, tmp_path: Path) -> None:
    run = build_without_emulator(unpacked, tmp_path / "store")
    assert run.reasons == {"live": "missing-tool"}


def test_an_architecture_that_debian_does_not_have_is_reported(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", SEED.format(arch="alpha"))
    run = build("it", cwd=project, store=tmp_path / "store", check=False)
    assert run.code == 2
    assert "no packages for alpha" in run.stderr
