"""Roots that lack something, scripts that fail, overlays that clash: small hand-made roots, no Debian needed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from integration.archives import Add, busybox_root, folder, link, member, write_tar
from integration.support import Run, Warm, build, call, notices, states, write_project

pytestmark = pytest.mark.real

SEED = '[seeds.it]\nfile = "seed.tar"\n'
PAYLOAD = SEED + '[stages.boot]\nkind = "livecd-stage2"\nroot = "it"\n'
LIVE = SEED + '[stages.live]\nkind = "livecd-stage1"\nroot = "it"\n'

MODULES = [folder("lib"), folder("lib/modules"), folder("lib/modules/6.1-x"), member("lib/modules/6.1-x/modules.order")]
OTHER = [folder("lib/modules/6.2-y"), member("lib/modules/6.2-y/modules.order")]
KERNEL = [*MODULES, folder("boot"), member("boot/vmlinuz-6.1-x", b"kernel")]
DRACUT = [*KERNEL, folder("usr/bin"), member("usr/bin/dracut", b"#!/bin/sh\n")]
TOOLS = ("mount", "depmod", "udevadm", "ip", "arping", "dhclient", "curl", "pgrep", "dmsetup", "losetup", "setsid")


class Place:
    """A project with a hand-made seed, and its store."""

    def __init__(self, base: Path) -> None:
        self.project = base / "project"
        self.store = base / "store"
        self.project.mkdir()

    def build(self, text: str, members: Iterable[Add] = (), *, check: bool = False, seed: bool = True) -> Run:
        write_project(self.project, text)
        if seed:
            write_tar(self.project / "seed.tar", members)
        return build(cwd=self.project, store=self.store, check=check)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def shell_seed(place: Place, warm: Warm) -> Callable[..., None]:
    """Makes the seed of the project a root with the demo's busybox in it."""

    def make(*members: Add) -> None:
        busybox = warm.tree("system") / "bin/busybox"
        busybox_root(place.project / "seed.tar", busybox, members)

    return make


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([], "exactly one kernel"),
        ([*MODULES, *OTHER], "6.1-x, 6.2-y"),
        (MODULES, "not its image"),
        (KERNEL, "no dracut"),
        (DRACUT, "mount"),
    ],
)
def test_environments_without_what_a_payload_needs(place: Place, members: list[Add], said: str) -> None:
    run = place.build(PAYLOAD, members)
    assert run.code == 1
    assert run.reasons == {"boot": "environment-lacks"}
    assert said in run.stderr
    assert "hint:" in run.stderr or "looked for" in run.stderr
    assert states(cwd=place.project, store=place.store) == {"seed:it": "cached", "boot": "build"}


@pytest.mark.parametrize("loader", ["systemd-boot", "grub"])
def test_an_environment_without_the_loader(place: Place, shell_seed: Callable[..., None], loader: str) -> None:
    """dracut and its tools are dummies here; the loader is looked for afterwards."""
    made = member("usr/bin/dracut", b'#!/bin/sh\nfor last; do :; done\necho initramfs > "$last"\n')
    dummies = [member(f"usr/bin/{name}", b"#!/bin/sh\n") for name in TOOLS]
    shell_seed(*DRACUT, made, *dummies)
    run = place.build(PAYLOAD + f'loaders = ["{loader}"]\n', seed=False)
    assert run.code == 1
    assert run.reasons == {"boot": "environment-lacks"}, run
    assert loader in run.stderr and "install " in run.stderr


def test_a_root_without_portage(place: Place) -> None:
    for name in ("profiles/default", "app-misc/hello"):
        (place.project / "repo" / name).mkdir(parents=True)
    wanted = 'profile = "default"\npackages = ["app-misc/hello"]\n'
    run = place.build(LIVE + wanted + '[repos.main]\npath = "repo"\n')
    assert run.code == 1, run
    assert run.reasons == {"live": "environment-lacks"}
    assert "no Portage" in run.stderr


def test_a_failing_script(place: Place, shell_seed: Callable[..., None]) -> None:
    shell_seed()
    (place.project / "script").write_text("echo before the end\nexit 3\n", encoding="utf-8")
    run = place.build(LIVE + 'script = "script"\n', seed=False)
    assert run.code == 1
    assert run.reasons == {"live": "command-failed"}
    assert "exit code 3" in run.stderr and "before the end" in run.stderr
    assert "stagewright shell live" in run.stderr
    assert "before the end" in call("log", "live", cwd=place.project, store=place.store).stdout
    (place.project / "script").write_text("#!/bin/sh\necho made > /made\n", encoding="utf-8")
    (place.project / "script").chmod(0o755)
    assert build(cwd=place.project, store=place.store).built() == {"live"}


def test_a_script_without_its_interpreter(place: Place) -> None:
    (place.project / "script").write_text("true\n", encoding="utf-8")
    run = place.build(LIVE + 'script = "script"\n')
    assert run.code == 1
    assert run.reasons == {"live": "command-failed"}
    assert "/bin/sh" in run.stderr


@pytest.mark.parametrize("kind", ["file over folder", "folder over file"])
def test_an_overlay_that_clashes(place: Place, kind: str) -> None:
    overlay = place.project / "overlay"
    overlay.mkdir()
    if kind == "file over folder":
        (overlay / "usr").write_text("x", encoding="utf-8")
    else:
        (overlay / "etc/os-release").mkdir(parents=True)
    run = place.build(LIVE + 'root_overlay = ["overlay"]\n')
    assert run.code == 1
    assert run.reasons == {"live": "build-failed"}
    assert "/usr" in run.stderr or "/etc/os-release" in run.stderr
    shutil.rmtree(overlay)
    overlay.mkdir()
    assert build(cwd=place.project, store=place.store).built() == {"live"}


def test_links_of_a_root_lead_nowhere_outside(place: Place, tmp_path: Path) -> None:
    """A root whose folders are links to folders of this machine: overlays, files and removals stay inside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "sentinel").write_text("as it was", encoding="utf-8")
    overlay = place.project / "overlay"
    (overlay / "opt/new").mkdir(parents=True)
    (overlay / "opt/new/file").write_text("x", encoding="utf-8")
    settings = 'root_overlay = ["overlay"]\nhostname = "box"\nrm = ["/srv/*", "/opt/sentinel"]\nempty = ["/srv"]\n'
    settings += 'os_release = { NAME = "x" }\n'
    members = [link("opt", str(outside)), link("srv", "../" * 20 + str(outside)), link("etc/hostname", "/../x")]
    place.build(LIVE + settings, members)
    assert [path.name for path in outside.iterdir()] == ["sentinel"]
    assert (outside / "sentinel").read_text(encoding="utf-8") == "as it was"


def test_removing_the_root_itself_is_refused(place: Place) -> None:
    run = place.build(LIVE + 'rm = ["/"]\n')
    assert run.code == 2, run
    run = place.build(LIVE + 'rm = ["/no/such"]\n', check=True)
    assert notices(run) == ["rm: /no/such matches nothing"]
