"""``make update-matrix``: update the system of examples/updates in every way that Stagewright tests.

It writes a table in docs/updates.md, a row after each run: a normal update, the commands of the page with published
versions, power failures at ten moments and at the end of the download, changed feeds, and new versions that do not
start. Systems without systemd update themselves by stagewright-update: that of examples/disks, with init of busybox,
and one of Debian with OpenRC. The machines run one at a time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.matrix import ROOT, copy
from bench.table import END, begin
from bench.update_fleet import try_commands
from stagewright.kinds.seeds.bootstrap import FOR_PORTAGE

EXAMPLE, PAGE = ROOT / "examples" / "updates", ROOT / "docs" / "updates.md"
BEGIN = begin("update-matrix")

DISKS = ROOT / "examples" / "disks"
PUBLISHED = "published"

ROWS = {
    "update": ("from one version to the next", ""),
    PUBLISHED: ("the commands of this page, from keys to the way back", ""),
    "cuts": ("power failures at ten moments", "cuts = [0.02, 0.1, 0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97]"),
    "last-cut": ("power failure at the end of the download", "cuts = [1]"),
    "changed": ("feeds that were changed", 'changed = ["content", "sums", "key", "unsigned", "older"]'),
    "kernel": ("a new kernel that panics", 'broken = "kernel"'),
    "root": ("a new root that is damaged", 'broken = "root"'),
    "target": ("a new system that never gets ready", 'broken = "target"'),
    "busybox": ("without systemd: a changed feed, a power failure, and the update", 'changed = ["key"], cuts = [0.5]'),
    "busybox-target": ("without systemd: a new system that never gets ready", 'broken = "target"'),
    "openrc": ("OpenRC: a power failure, and the update", "cuts = [0.5]"),
    "openrc-target": ("OpenRC: a new system with a login that is never good", 'broken = "target"'),
}
"""Rows by name: the way, and its setting. All are tests but the one of published versions."""

BUSYBOX, OPENRC = ("busybox", "busybox-target"), ("openrc", "openrc-target")
"""Rows of systems with stagewright-update: that of examples/disks, with init of busybox, and one with OpenRC."""

_STAGES = """
[stages.hasty]
extends = "next"
updates.deadline = 240

[stages.hasty-disk]
extends = "next-disk"
root = "hasty"
"""
"""A version for the row ``target``: it is rebooted three times after its deadline."""

_TEST = """
[tests.{name}]
updates = ["disk", "{image}"]
login.user = "root"
poweroff = true
timeout = 7200
{setting}
"""

_ONE_PROCESSOR = "cpus = 1 # an emulated machine with two can stop when OpenRC starts\n"

_TWO_VERSIONS = """
[stages.old]
extends = "{root}"
os_release = {{ IMAGE_ID = "tiny", IMAGE_VERSION = "1.0" }}
[stages.old.updates]
url = "http://updates.example.org/tiny/latest/feed"
key = "fleet.asc"
compression = "gz"
deadline = 3000

[stages.new]
extends = "old"
os_release = {{ IMAGE_ID = "tiny", IMAGE_VERSION = "1.1" }}

[stages.disk]
extends = "ab"
root = "old"
kernel_arguments.extra = ["no_timer_check", "panic=10", "rd.timeout=600", "net.ifnames=0"]

[stages.next-disk]
extends = "disk"
root = "new"

# A deadline that three failed starts wait for.
[stages.hasty]
extends = "new"
updates.deadline = 240

[stages.hasty-disk]
extends = "disk"
root = "hasty"
"""
"""Two versions of a root that update themselves."""

_SEED = '[seeds.debian]\nbootstrap = "debian"\n'
"""The seed of examples/disks. The programs of its root that an update needs come from it."""

_OPENRC = """
[seeds.debian-openrc]
bootstrap = "debian"
packages = [
	"bzip2", "file", "gcc", "libc6-dev", "make", "patch", "pax-utils", "python3", "xz-utils", "zstd",
	"openrc", "sysvinit-core", "udev", "kmod", "mount", "login", "passwd", "procps", "e2fsprogs",
	"ifupdown", "iproute2", "fdisk", "gpgv", "curl",
]

[stages.openrc-system]
kind = "diskimage-stage1"
root = "debian-openrc"
profile = "default/linux/amd64"
packages = ["sys-apps/stagewright-update"]
root_overlay = ["openrc"]
root_password = "empty"
hostname = "disk"
"""
_OPENRC_FILES = {
    "inittab": """id:2:initdefault:
si::sysinit:/etc/init.d/rcS
l0:0:wait:/etc/init.d/rc 0
l2:2:wait:/etc/init.d/rc 2
l6:6:wait:/etc/init.d/rc 6
h0:0:wait:/sbin/halt -d -f -i -p
r6:6:wait:/sbin/reboot -d -f -i
S0:2:respawn:/sbin/getty -L ttyS0 115200 vt100
""",
    "network/interfaces": "auto lo eth0\niface lo inet loopback\niface eth0 inet static\n\taddress 10.0.2.15/24\n",
}
"""A root of Debian with OpenRC, and files of its /etc: those of sysvinit, which starts OpenRC, and of ifupdown.

The address is that of QEMU's user network: a client for DHCP would need files in /var.
"""

Outcome = tuple[bool, float]
"""True for success, and the time in seconds."""


def main() -> int:
    """Run the tests and write the table. Return 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.update_matrix", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("/var/cache/stagewright"), help="kept between runs")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page with the table")
    parser.add_argument("--only", nargs="*", choices=ROWS, help="these rows; the page keeps the others")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(prefix="matrix-", dir="/var/tmp") as folder:
        fleet = prepare(EXAMPLE, Path(folder) / EXAMPLE.name)
        projects = {
            **dict.fromkeys(BUSYBOX, prepare_tiny(DISKS, Path(folder) / "busybox")),
            **dict.fromkeys(OPENRC, prepare_openrc(DISKS, Path(folder) / "openrc")),
        }
        for name in options.only or ROWS:
            run = publish if name == PUBLISHED else test
            outcome = run(projects.get(name, fleet), options.store, name)
            failed = failed or not outcome[0]
            print(row(name, outcome), end="", flush=True)
            write(options.page, name, outcome)
    return 1 if failed else 0


def prepare(example: Path, target: Path) -> Path:
    """Make a copy of the example with all tests. Return its folder."""
    project = copy(example, target)
    tests = _tests(name for name in ROWS if name not in (*BUSYBOX, *OPENRC))
    file = project / "stagewright.toml"
    text = file.read_text(encoding="utf-8")
    assert text.count("deadline = 600") == 1
    patient = text.replace("deadline = 600", "deadline = 3000")  # a busy computer is slower than any example
    file.write_text("".join([patient, _STAGES, *tests]), encoding="utf-8")
    return project


def prepare_tiny(example: Path, target: Path) -> Path:
    """Make a copy of examples/disks whose system updates itself, with the tests of it. Return its folder."""
    changes = {
        _SEED: f"{_SEED}packages = {json.dumps([*FOR_PORTAGE.split(), 'fdisk', 'gpgv'])}\n",
        '"app-misc/greet"]': '"app-misc/greet", "sys-apps/stagewright-update", "sys-apps/update-tools"]',
    }
    return _with_versions(example, target, "root", BUSYBOX, changes=changes)


def prepare_openrc(example: Path, target: Path) -> Path:
    """Make a copy of examples/disks with a system of Debian and OpenRC, and the tests of it. Return its folder."""
    project = _with_versions(example, target, "openrc-system", OPENRC, stages=_OPENRC)
    for name, text in _OPENRC_FILES.items():
        path = project / "openrc" / "etc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return project


def _with_versions(
    example: Path, target: Path, root: str, rows: Iterable[str], *, changes: Mapping[str, str] = {}, stages: str = ""
) -> Path:
    """Copy an example, with two versions of a root and tests of them. ``changes`` are texts that are there once."""
    project = copy(example, target)
    shutil.copyfile(EXAMPLE / "fleet.asc", project / "fleet.asc")
    file = project / "stagewright.toml"
    text = file.read_text(encoding="utf-8")
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file.write_text("".join([text, stages, _TWO_VERSIONS.format(root=root), *_tests(rows)]), encoding="utf-8")
    return project


def _tests(names: Iterable[str]) -> list[str]:
    return [
        _TEST.format(
            name=name,
            image="hasty-disk" if name.endswith("target") else "next-disk",
            setting=(_ONE_PROCESSOR if name in OPENRC else "") + ROWS[name][1].replace("], ", "]\n"),
        )
        for name in names
        if ROWS[name][1]
    ]


def test(project: Path, store: Path, name: str) -> Outcome:
    """Run a test of the project."""
    words = [sys.executable, "-m", "stagewright", "-C", str(project), "--store", str(store), "test", name]
    subprocess.run(words, check=False)
    file = project / "out" / "tests" / name / "result.json"
    result = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"passed": False, "seconds": 0}
    return bool(result["passed"]), float(result["seconds"])


def publish(project: Path, store: Path, name: str) -> Outcome:
    """Publish two versions of the example, and update a machine from them."""
    folder = project.parent / name
    folder.mkdir()
    begin = time.monotonic()
    try:
        try_commands(copy(EXAMPLE, folder / EXAMPLE.name), store, folder)
    except Exception as error:  # noqa: BLE001  a row of the table: any failure is one of this row
        print(f"{name}: {error}\n{getattr(error, 'detail', '')}", file=sys.stderr)
        return False, time.monotonic() - begin
    return True, time.monotonic() - begin


def row(name: str, outcome: Outcome | None) -> str:
    """Return the row of a test. ``outcome`` is None for one that was not run yet."""
    way, setting = ROWS[name]
    cells = [way, f"`{setting}`" if setting else "", "not run yet", ""]
    if outcome:
        cells[2:] = ["passed" if outcome[0] else "FAILED", f"{outcome[1]:.0f} s"]
    return f"| {' | '.join(cells)} |\n"


def write(page: Path, name: str, outcome: Outcome) -> None:
    """Write the row of a test that was run, and keep the rows of the others."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    table, _, rest = rest.partition(END)
    known = {line.split(" | ")[0]: line for line in table.splitlines(keepends=True)}
    rows = {one: known.get(f"| {way}", row(one, None)) for one, (way, _) in ROWS.items()}
    rows[name] = row(name, outcome)
    head = "| update | setting | result | time |\n|---|---|---|---|\n"
    page.write_text("".join([before, BEGIN, head, *rows.values(), END, rest]), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
