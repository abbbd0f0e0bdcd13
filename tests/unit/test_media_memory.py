"""The initramfs stops a machine with too little memory: dracut's module, with a made-up machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from roots import EPOCH, as_root, make_root

from stagewright.media import initramfs
from stagewright.media.dracut_modules import add_module
from stagewright.media.initramfs import MEMORY, DracutRun, InitramfsSettings

SCRIPTS = Path(initramfs.__file__).parent / "memory"

VERITY = "rd.stagewright.verity=25600:00ff"  # 100 MiB
MEDIUM = f"root=live:CDLABEL=X rd.live.dir=/ {VERITY}"
HTTP = f"root=live:http://server/image.squashfs ip=dhcp {VERITY}"
INITRD = f"root=live:/image.squashfs.img {VERITY}"
STREAM = f"root=live:/dev/nbd0 rd.stagewright.stream=http://server/image.squashfs {VERITY}"
NFS = f"root=live:nfs://server/folder/image.squashfs {VERITY}"

STUBS = """
getarg() {
    for word in $CMDLINE; do
        [ "${word%%=*}" != "${1%=}" ] || { echo "${word#*=}"; return 0; }
    done
    return 1
}
getargbool() {
    value=$(getarg "$2") || value=$1
    case "$value" in 0 | no | off) return 1 ;; esac
}
mount() { echo "mount $*"; }
sleep() { kill -KILL $$; exit 3; }
image=kept
. "$SCRIPT"
echo "goes on, image=$image"
"""


@pytest.fixture(params=["dash", "bash", "busybox sh"])
def shell(request: pytest.FixtureRequest) -> list[str]:
    return str(request.param).split()


def machine(folder: Path, *, memory: int, available: int, total: int | None = None) -> None:
    """Write the files of /proc of a machine with these MiB, of which the BIOS keeps the last 64 KiB."""
    end = memory << 20
    ranges = [(0, 0xFFF, "Reserved"), (0x1000, 0x9FBFF, "System RAM"), (0x9FC00, 0xFFFFF, "Reserved")]
    ranges += [(0x100000, end - 0x10001, "System RAM"), (end - 0x10000, end - 1, "Reserved")]
    lines = [f"{first:08x}-{last:08x} : {kind}" for first, last, kind in ranges]
    lines.insert(4, "  01000000-01e00000 : Kernel code")
    (folder / "iomem").write_text("\n".join(lines) + "\n", encoding="utf-8")
    meminfo = f"MemTotal: {(memory if total is None else total) << 10} kB\nMemFree: 1 kB\n"
    (folder / "meminfo").write_text(f"{meminfo}MemAvailable: {available << 10} kB\n", encoding="utf-8")


def run(shell: list[str], folder: Path, line: str, *programs: str) -> tuple[str, str]:
    """Return what the script prints, and what it writes to the kernel's log."""
    for name in programs:
        (folder / name).write_text("", encoding="utf-8")
    env = {"SCRIPT": str(SCRIPTS / "check-memory.sh"), "PROC": str(folder), "PROGRAMS": str(folder)}
    env |= {"KMSG": str(folder / "kmsg"), "CMDLINE": line, "PATH": "/usr/bin:/bin"}
    done = subprocess.run([*shell, "-c", STUBS], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    log = folder / "kmsg"
    return done.stdout, log.read_text(encoding="utf-8") if log.exists() else ""


@pytest.mark.parametrize("line", [MEDIUM, HTTP, INITRD, STREAM, NFS])
def test_a_machine_with_enough_memory_goes_on(shell: list[str], tmp_path: Path, line: str) -> None:
    machine(tmp_path, memory=512, available=150 if line == HTTP else 50)
    assert run(shell, tmp_path, line) == ("goes on, image=kept\n", "")


@pytest.mark.parametrize(
    ("line", "available", "needs", "purpose", "way"),
    [
        (
            HTTP,
            100,
            304,
            " for the method http, which copies the image to memory",
            "it starts with the method stream or nbd",
        ),
        (f"{MEDIUM} rd.live.ram=1", 100, 304, " to copy the image to memory", "it starts without rd.live.ram"),
        (
            INITRD,
            24,
            272,
            " for the method initrd, which keeps the image in memory",
            "it starts with the method stream or nbd",
        ),
        (STREAM, 24, 272, "", "no way to start it needs less"),
        (NFS, 24, 272, "", "no way to start it needs less"),
        (MEDIUM, 24, 272, "", "no way to start it needs less"),
        (HTTP, 30, 384, " for the method http, which copies the image to memory", "no way to start it needs less"),
    ],
)
def test_a_machine_with_too_little_memory_stops_with_a_sentence(
    shell: list[str], tmp_path: Path, line: str, available: int, needs: int, purpose: str, way: str
) -> None:
    machine(tmp_path, memory=256, available=available, total=210)
    said, log = run(shell, tmp_path, line, "stagewright-streamroot")
    sentence = f"not enough memory: this machine has 256 MiB and needs {needs} MiB{purpose}; {way}"
    assert log == f"<2>stagewright: {sentence} (rd.stagewright.memory=no tries it anyway)\n"
    assert said == "", "the script waits: it did not return to dracut"


@pytest.mark.parametrize(
    ("programs", "way"),
    [
        ([], "the image stays on the server"),
        (["nfsroot"], "with the method nfs"),
        (["nfsroot", "stagewright-streamroot"], "with the method stream, nbd or nfs"),
    ],
)
def test_only_methods_that_the_initramfs_has_are_named(
    shell: list[str], tmp_path: Path, programs: list[str], way: str
) -> None:
    machine(tmp_path, memory=256, available=90)
    assert f"{way} (" in run(shell, tmp_path, HTTP, *programs)[1].replace(" (initramfs module stagewright-stream)", "")


@pytest.mark.parametrize("word", ["rd.stagewright.memory=no", "rd.stagewright.memory=0"])
def test_an_argument_turns_it_off(shell: list[str], tmp_path: Path, word: str) -> None:
    machine(tmp_path, memory=256, available=1)
    assert run(shell, tmp_path, f"{HTTP} {word}") == ("goes on, image=kept\n", "")


def test_other_systems_and_old_kernels_are_not_judged(shell: list[str], tmp_path: Path) -> None:
    machine(tmp_path, memory=256, available=1)
    assert run(shell, tmp_path, "root=UUID=1234 rd.live.ram=1") == ("goes on, image=kept\n", "")
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemFree: 1 kB\n", encoding="utf-8")
    assert run(shell, tmp_path, HTTP) == ("goes on, image=kept\n", "")


def test_a_copy_gets_the_room_that_it_needs(shell: list[str], tmp_path: Path) -> None:
    """The default size of /run is half of the memory, and less with systemd; dracut does not notice a short copy."""
    machine(tmp_path, memory=256, available=180)
    said, log = run(shell, tmp_path, f"{MEDIUM} rd.live.ram=1")
    assert (said, log) == ("mount -o remount,size=152m /run\ngoes on, image=kept\n", "")


@pytest.mark.parametrize(
    ("words", "stops"),
    [
        ("rd.stagewright.size=100", True),
        ("rd.stagewright.size=x", False),
        ("rd.stagewright.verity=12x:00 rd.stagewright.size=100", False),
        ("", False),
    ],
)
def test_the_size_of_an_image_that_is_not_verified_is_an_argument(
    shell: list[str], tmp_path: Path, words: str, *, stops: bool
) -> None:
    machine(tmp_path, memory=256, available=100)
    log = run(shell, tmp_path, f"root=live:http://server/image.squashfs {words}")[1]
    assert ("needs 304 MiB for the method http" in log) == bool(log) == stops


def test_the_kernel_may_hide_its_ranges(shell: list[str], tmp_path: Path) -> None:
    machine(tmp_path, memory=256, available=1, total=210)
    (tmp_path / "iomem").write_text("00000000-00000000 : System RAM\n", encoding="utf-8")
    assert "this machine has 210 MiB" in run(shell, tmp_path, HTTP)[1]


def test_every_initramfs_has_the_module() -> None:
    words = DracutRun("6.1", "/out", Path("/out"), False, 1).command(InitramfsSettings())
    assert MEMORY in words[words.index("--add") + 1].split()


@as_root
def test_the_module_runs_before_anything_else_starts(tmp_path: Path) -> None:
    root = make_root(tmp_path, {"usr/lib/dracut/modules.d/90dmsquash-live/x": ""})
    add_module(root, "memory", f"91{MEMORY}", EPOCH)
    folder = root.path / f"usr/lib/dracut/modules.d/91{MEMORY}"
    assert {path.name for path in folder.iterdir()} == {"module-setup.sh", "check-memory.sh"}
    for path in folder.iterdir():
        subprocess.run(["bash", "-n", path], check=True)
    assert re.search(r"inst_hook cmdline 0\d ", (folder / "module-setup.sh").read_text(encoding="utf-8"))
