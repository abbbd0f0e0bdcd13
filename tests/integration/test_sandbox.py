"""A command inside a root sees as little of this machine as possible."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from terminals import on_terminal

from integration.support import DEMO, Run, Warm, build, call, command, copy_project, seeds_of, write_project

pytestmark = pytest.mark.real

STAGES = """
[stages.here]
kind = "embedded"
root = "debian"
profile = "default/linux/amd64"
packages = ["app-misc/hello"]
make_conf = { STAGEWRIGHT_MARK = "assembled" }

[stages.live]
kind = "livecd-stage1"
root = "here"
hostname = "box"
"""


@pytest.fixture(scope="module")
def ask(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Run]]:
    """Runs a shell command in the root of the stage ``here``."""
    project = write_project(
        tmp_path_factory.mktemp("sandbox") / "project", '[repos.demo]\npath = "repo"\n' + seeds_of(DEMO) + STAGES
    )
    copy_project(DEMO / "repo", project / "repo")
    shutil.copy(warm.lock, project)
    store = warm.copy(["seed:debian"], binpkgs=True)

    def run(script: str, *, check: bool = True) -> Run:
        return call("shell", "here", "--", "bash", "-c", script, cwd=project, store=store, check=check)

    run.project, run.store = project, store  # type: ignore[attr-defined]
    yield run
    assert not list((store / "work").iterdir())
    shutil.rmtree(store)


def test_no_network(ask: Callable[..., Run]) -> None:
    assert ask("ls /sys/class/net 2>/dev/null || tail -n +3 /proc/net/dev | cut -d: -f1").stdout.split() == ["lo"]
    assert ask("tail -n +2 /proc/net/route").stdout == ""
    assert ask("exec 3<>/dev/tcp/1.1.1.1/80", check=False).code != 0


def test_own_dev(ask: Callable[..., Run]) -> None:
    names = set(ask("ls /dev").stdout.split())
    assert {"null", "zero", "urandom", "shm", "pts"} <= names
    assert not {name for name in names if name.startswith(("vd", "sd", "loop", "kvm", "mem", "nvme"))}
    ask("echo x > /dev/stagewright-was-here; mkdir /dev/shm/stagewright-was-here")
    assert not Path("/dev/stagewright-was-here").exists()
    assert not Path("/dev/shm/stagewright-was-here").exists()


def test_own_processes(ask: Callable[..., Run]) -> None:
    pids = [int(word) for word in ask("echo /proc/[0-9]*").stdout.replace("/proc/", "").split()]
    assert max(pids) < 20
    assert str(os.getpid()) not in ask("cat /proc/*/cmdline | tr '\\0' ' '").stdout


def test_hostname_time_zone_and_environment(ask: Callable[..., Run]) -> None:
    os.environ["STAGEWRIGHT_SECRET"] = "of the host"
    try:
        said = ask("cat /proc/sys/kernel/hostname; env").stdout
    finally:
        del os.environ["STAGEWRIGHT_SECRET"]
    assert said.splitlines()[0] == "stagewright"
    assert "of the host" not in said
    assert "TZ=UTC" in said and "LANG=C.UTF-8" in said


def test_configuration_is_the_assembled_one(ask: Callable[..., Run]) -> None:
    assert "STAGEWRIGHT_MARK" in ask("cat /etc/portage/make.conf/*").stdout
    assert "auto-sync = no" in ask("cat /etc/portage/repos.conf/*").stdout
    said = ask("emerge --info 2>&1; portageq envvar STAGEWRIGHT_MARK DISTDIR")
    assert said.stdout.splitlines()[-2:] == ["assembled", "/var/cache/distfiles"]


@pytest.mark.parametrize("path", ["/var/cache/distfiles", "/var/db/repos/demo", "/etc/portage"])
def test_shared_folders_are_read_only(ask: Callable[..., Run], path: str) -> None:
    assert "Read-only file system" in ask(f"touch {path}/x", check=False).stderr


@pytest.mark.parametrize("path", ["/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger"])
def test_the_kernel_cannot_be_set(ask: Callable[..., Run], path: str) -> None:
    said = ask(f"test -e {path} || exit 3; dd if=/dev/null of={path} conv=notrunc", check=False)
    if said.code == 3 and not Path(path).exists():
        pytest.skip(f"NOT TESTED: this machine has no {path}")
    assert re.search("failed to open .*: (Read-only file system|Permission denied)", said.stderr), said


def test_the_host_is_out_of_reach(ask: Callable[..., Run]) -> None:
    assert ask("test -e /proc/1/root/work || test -e /var/tmp/venv", check=False).code == 1
    assert ask("mount -o remount,rw /var/cache/distfiles && touch /var/cache/distfiles/x", check=False).code != 0


def test_the_shell_leaves_nothing(ask: Callable[..., Run]) -> None:
    ask("touch /usr/was-here")
    assert ask("test -e /usr/was-here", check=False).code == 1


TYPE = """python3 -c '
import fcntl
try:
    fcntl.ioctl(0, 0x5412, b"x")
except OSError as error:
    print("cannot type:", error.errno)
'"""


# One process prints and sleeps: an interrupt between two commands of a shell would reach neither.
SIZE_AND_SLEEP = "python3 -c 'import os, time; print(*os.get_terminal_size(), flush=True); time.sleep(1000)'"


def test_a_shell_has_a_separate_terminal(ask: Callable[..., Run]) -> None:
    project, store = ask.project, ask.store  # type: ignore[attr-defined]
    words = command("shell", "here", "bash", cwd=project, store=store)
    with on_terminal(words, before="stty rows 31 columns 97; ") as user:
        user.wait_for(b"# ")
        user.type(TYPE.replace("\n", "\r").encode() + b"\r")
        user.wait_for(b"cannot type: 1")
        user.type(SIZE_AND_SLEEP.encode() + b"\r")
        user.wait_for(b"97 31")
        user.said = b""
        user.type(b"\x03")
        user.wait_for(b"# ")
        user.type(b"echo still $((1 + 1)); exit 7\r")
        user.wait_for(b"still 2")
        assert user.end() == 7


def test_a_seed_can_be_entered(ask: Callable[..., Run]) -> None:
    project, store = ask.project, ask.store  # type: ignore[attr-defined]
    assert "Debian" in call("shell", "debian", "--", "cat", "/etc/os-release", cwd=project, store=store).stdout


def test_mounts_leave_no_trace_in_layers(ask: Callable[..., Run]) -> None:
    project, store = ask.project, ask.store  # type: ignore[attr-defined]
    build("live", cwd=project, store=store)
    seen = {path.relative_to(tree) for tree in store.glob("layers/*/tree") for path in below(tree)}
    for name in ("mnt/target", "mnt/payload", "var/db/repos/demo", "etc/portage/make.conf", "run/stagewright", "tmp/x"):
        assert Path(name) not in seen
    assert Path("etc/resolv.conf") not in seen
    assert not [path for path in seen if path.parts[0] == "dev" and len(path.parts) > 1]


def below(tree: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(tree):
        yield from (Path(folder, name) for name in (*folders, *files))
