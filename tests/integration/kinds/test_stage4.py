"""stage4: packages, accounts, services and a kernel, by real Portage on a seed and on another stage4; errors."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.support import DEMO, REPOSITORY, Run, Warm, build, call, edit, notices, seeds_of, states, write_project

pytestmark = pytest.mark.real

DATA = REPOSITORY / "tests" / "data" / "stage4"
HASH = "$6$saltsalt$" + "a" * 86
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ larry@farm"

GOOD = f"""
[repos.demo]
path = "repo"
main = true
[repos.stage4repo]
path = "more"

[stages.base]
kind = "stage4"
root = "debian"
profile = "default/linux/amd64"
packages = ["app-misc/hello"]
use = ["-shout"]
root_overlay = ["openrc"]
hostname = "box"
timezone = "Europe/Berlin"
locale = "C.UTF-8"
root_password = "empty"

[stages.base.groups.media]

[stages.base.users.larry]
groups = ["media", "audio"]
password = "{HASH}"
authorized_keys = ["keys/larry.pub"]

[stages.base.services]
enable = ["chime"]
runlevels = {{ boot = ["hwclock"] }}

[stages.desk]
kind = "stage4"
root = "base"
profile = "default/linux/amd64"
packages = ["app-misc/greet"]
use = ["shout"]
binrepo = "https://example.org/packages"
depclean = "all"
confdir = ["confdir"]
root_overlay = ["systemd"]
script = "script"
rm = ["/usr/share/zoneinfo", "/no/such/thing"]
empty = ["/var/cache/apt"]
size = "2G"

[stages.desk.users]
larry = {{ comment = "Larry the Cow", groups = ["chimers"] }}
chimes = {{ system = true, group = "chimers" }}
[stages.desk.groups]
chimers = {{ gid = 333 }}

[stages.desk.services]
enable = ["chime"]
target = "multi-user"

[stages.kernel]
kind = "stage4"
root = "debian"
profile = "default/linux/amd64"
packages = ["sys-fs/test-module"]
install_mask = ["/usr/share/doc"]
kernel = {{ package = "=sys-kernel/test-kernel-6.1" }}

[stages.newer-kernel]
extends = "kernel"
root = "kernel"
packages = []
kernel = {{ package = "=sys-kernel/test-kernel-6.12" }}
"""

BAD = """
[stages.wrong]
kind = "stage4"
root = "base"
timezone = "Europe/Berlyn"
locale = "de_DE.UTF-8"
keymap = "de"
[stages.wrong.users.curly]
groups = ["whel", "audio"]
shell = "/bin/zsh"
[stages.wrong.services]
enable = ["chim"]
runlevels = { bot = ["chime"] }
target = "multi-user"

[stages.at-once]
kind = "stage4"
root = "debian"
profile = "default/linux/amd64"
packages = ["app-misc/hello"]
users = { curly = { uid = 0 }, larry = { authorized_keys = ["keys/private"] } }

[stages.large]
kind = "stage4"
root = "base"
size = "1M"

[stages.failing-script]
kind = "stage4"
root = "base"
script = "failing"

[stages.clash]
kind = "stage4"
root = "base"
root_overlay = ["clash"]

[stages.kernel-without-modules]
kind = "stage4"
root = "kernel"
profile = "default/linux/amd64"
kernel = { package = "=sys-kernel/test-kernel-6.12", rebuild_modules = false }
"""

SCRIPT = """set -e
test "$(id -u larry)" = 1000
test -L /etc/systemd/system/multi-user.target.wants/chime.service
id -Gn larry > /srv/groups
greet > /srv/greeting
"""


@dataclass(frozen=True)
class Built:
    """The project, its store, and the run that built what can be built of it."""

    project: Path
    store: Path
    run: Run

    def text(self, stage: str, path: str) -> str:
        """Return the text of a file of a stage."""
        return self.inside(stage, "cat", path)

    def inside(self, stage: str, *words: str) -> str:
        """Return the output of a command in a root on top of a stage."""
        return call("shell", f"look-{stage}", "--", *words, cwd=self.project, store=self.store).stdout.strip()

    def error(self, node: str) -> str:
        found = [event["error"] for event in self.run.events if event.get("node") == node and event.get("error")]
        assert found, f"{node} has not failed"
        error = found[0]
        return f"{error['message']}\n{error['detail']}\n{error['hint']}"


@pytest.fixture(scope="module")
def built(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    looks = "".join(
        f'[stages.look-{name}]\nkind = "stage4"\nroot = "{name}"\n'
        for name in ("base", "desk", "kernel", "newer-kernel")
    )
    project = write_project(tmp_path_factory.mktemp("stage4") / "project", seeds_of(DEMO) + GOOD + BAD + looks)
    for name in ("openrc", "systemd", "confdir"):
        shutil.copytree(DATA / name, project / name)
    shutil.copytree(DATA / "repo", project / "more")
    shutil.copytree(DEMO / "repo", project / "repo")
    shutil.copy(warm.lock, project)
    (project / "keys").mkdir()
    (project / "keys/larry.pub").write_text(f"{KEY}\n", encoding="utf-8")
    (project / "keys/private").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n", encoding="utf-8")
    (project / "clash/usr").mkdir(parents=True)
    (project / "clash/usr/bin").write_text("", encoding="utf-8")
    (project / "script").write_text(SCRIPT, encoding="utf-8")
    (project / "failing").write_text("#!/bin/sh\necho this is why\nexit 3\n", encoding="utf-8")
    store = warm.copy(["seed:debian"], binpkgs=False)
    yield Built(project, store, build("--keep-going", cwd=project, store=store, check=False))
    shutil.rmtree(store)


REASONS = {
    "wrong": "environment-lacks",
    "at-once": "environment-lacks",
    "large": "build-failed",
    "failing-script": "command-failed",
    "clash": "build-failed",
    "kernel-without-modules": "build-failed",
}


def test_good_stages_are_built_and_the_others_fail(built: Built) -> None:
    assert built.run.reasons == REASONS, built.run.stderr
    assert {"base", "desk", "kernel", "newer-kernel"} <= built.run.built()


def test_accounts(built: Built) -> None:
    passwd = built.text("desk", "/etc/passwd").splitlines()
    assert "larry:x:1000:1001:Larry the Cow:/home/larry:/bin/bash" in passwd
    assert "chimes:x:999:333::/dev/null:/sbin/nologin" in passwd
    group = built.text("desk", "/etc/group").splitlines()
    assert {"media:x:1000:larry", "chimers:x:333:larry", "larry:x:1001:"} <= set(group)
    shadow = built.text("desk", "/etc/shadow").splitlines()
    assert f"larry:{HASH}:20777:0:99999:7:::" in shadow  # the project's day, not today
    assert "chimes:!:20777:0:99999:7:::" in shadow
    assert any(line.startswith("root::20777:") for line in shadow)
    assert built.inside("desk", "stat", "-c", "%a %U:%G", "/etc/shadow") == "640 root:shadow"


def test_homes_and_keys(built: Built) -> None:
    names = (
        "/home/larry",
        "/home/larry/.chimerc",
        "/home/larry/.bashrc",
        "/home/larry/.ssh",
        "/home/larry/.ssh/authorized_keys",
    )
    shown = built.inside("base", "stat", "-c", "%a %U:%G", *names).splitlines()
    assert shown == [f"{mode} larry:larry" for mode in (700, 644, 644, 700, 600)]
    assert built.text("base", "/home/larry/.ssh/authorized_keys") == KEY


def test_services(built: Built) -> None:
    runlevels = built.inside("base", "find", "/etc/runlevels", "-type", "l", "-printf", "%P -> %l\n").splitlines()
    assert sorted(runlevels) == ["boot/hwclock -> /etc/init.d/hwclock", "default/chime -> /etc/init.d/chime"]
    units = built.inside("desk", "find", "/etc/systemd/system", "-type", "l", "-printf", "%P -> %l\n").splitlines()
    assert {
        "default.target -> /usr/lib/systemd/system/multi-user.target",
        "multi-user.target.wants/chime.service -> /usr/lib/systemd/system/chime.service",
    } <= set(units)
    assert "enable chime.service" in built.text("desk", "/etc/systemd/system-preset/00-stagewright.preset")


def test_place_and_name(built: Built) -> None:
    assert built.text("base", "/etc/hostname") == "box"
    assert built.text("base", "/etc/timezone") == "Europe/Berlin"
    assert built.inside("base", "readlink", "/etc/localtime") == "../usr/share/zoneinfo/Europe/Berlin"
    assert built.text("base", "/etc/locale.conf") == 'LANG="C.UTF-8"'


def test_packages_of_one_stage_on_the_other(built: Built) -> None:
    assert built.inside("base", "hello", "there") == "hello, there, from a program that Portage built"
    assert built.inside("desk", "hello", "there") == "HELLO, THERE, FROM A PROGRAM THAT PORTAGE BUILT"
    world = built.text("desk", "/var/lib/portage/world").split()
    assert world == ["app-misc/greet", "app-misc/hello"]
    assert (
        built.inside("desk", "readlink", "/etc/portage/make.profile")
        == "../../var/db/repos/demo/profiles/default/linux/amd64"
    )


def test_depclean_keeps_the_world(built: Built) -> None:
    assert {"depclean"} <= {event.get("phase") for event in built.run.events if event.get("node") == "desk"}
    assert built.inside("desk", "sh", "-c", "command -v hello && command -v greet").count("/") >= 2


def test_the_binary_package_host_is_configured(built: Built) -> None:
    assert "sync-uri = https://example.org/packages" in built.text("desk", "/etc/portage/binrepos.conf/gentoo.conf")


def test_the_script_sees_everything(built: Built) -> None:
    assert built.text("desk", "/srv/groups") == "larry audio media chimers"
    assert "HELLO" in built.text("desk", "/srv/greeting")


def test_removals(built: Built) -> None:
    found = built.inside("desk", "sh", "-c", "ls -d /usr/share/zoneinfo 2>&1; ls /var/cache/apt").splitlines()
    assert len(found) == 1 and "No such file" in found[0]
    assert "rm: /no/such/thing matches nothing" in notices(built.run)


def test_modules_follow_the_kernel(built: Built) -> None:
    listing = ["find", "/lib/modules/", "-name", "*.ko", "-printf", "%P\n"]
    assert built.inside("kernel", *listing) == "6.1/extra/stand-in.ko"
    newer = built.inside("newer-kernel", *listing).splitlines()  # the old ones stay: UNINSTALL_IGNORE of Portage
    assert sorted(newer) == ["6.1/extra/stand-in.ko", "6.12/extra/stand-in.ko"]
    assert built.inside("newer-kernel", "readlink", "/usr/src/linux") == "linux-6.12"
    assert built.inside("kernel", "sh", "-c", "ls /usr/share/doc | grep -c test-kernel || true") == "0"
    kept = [path.name for path in (built.store / "cache/binpkgs").glob("*/*")]
    assert "test-kernel" in kept
    assert "test-module" not in kept


def test_all_errors_are_reported_at_once(built: Built) -> None:
    error = built.error("wrong")
    for text in (
        "8 errors",
        "user curly: there is no group whel",
        "user curly: there is no shell /bin/zsh",
        "timezone: /usr/share/zoneinfo/Europe/Berlyn not found",
        "did you mean 'Europe/Berlin'?",
        "the root does not have de_DE.UTF-8",
        "keymap: de not found",
        "OpenRC has no service chim",
        "did you mean 'chime'?",
        "runlevel bot not found",
        "did you mean 'boot'?",
        "services.target is for systemd",
    ):
        assert text in error, error


def test_errors_of_the_root_are_reported_before_packages_are_built(built: Built) -> None:
    error = built.error("at-once")
    assert "curly: the uid 0 belongs to root" in error
    assert "keys/private: contains a private key" in error
    phases = [event["phase"] for event in built.run.events if event["event"] == "NodePhase"]
    assert "fetch" in phases
    mine = [
        event["phase"] for event in built.run.events if event["event"] == "NodePhase" and event["node"] == "at-once"
    ]
    assert mine == []


def test_a_root_that_is_too_large_is_refused(built: Built) -> None:
    error = built.error("large")
    assert "MiB more than size = '1M'" in error
    assert "/usr/lib" in error
    assert "app-misc/hello-1.0" in error


def test_a_failing_script_is_reported(built: Built) -> None:
    assert "this is why" in built.error("failing-script")
    assert "script failing: exit code" in built.error("failing-script")


def test_missing_modules_for_the_kernel_are_reported(built: Built) -> None:
    assert "no modules for kernel 6.12 in sys-fs/test-module-1" in built.error("kernel-without-modules")


def test_a_changed_upper_stage_leaves_the_lower_alone(built: Built) -> None:
    assert set(states("desk", cwd=built.project, store=built.store).values()) == {"cached"}
    edit(built.project, 'comment = "Larry the Cow"', 'comment = "Larry"')
    plan = states("desk", cwd=built.project, store=built.store)
    assert plan == {"seed:debian": "cached", "base": "cached", "desk": "build"}
    first = built.text("base", "/etc/passwd")
    assert build("desk", cwd=built.project, store=built.store).built() == {"desk"}
    assert ":Larry:" in built.text("desk", "/etc/passwd")
    assert built.text("base", "/etc/passwd") == first
