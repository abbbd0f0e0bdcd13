"""dm-verity: the hash tree of an image, the boot arguments with its root, and the scripts that open it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from roots import EPOCH, as_root, make_root
from test_media_arguments import kernel, settings_of

from stagewright.kernel.features import KernelFeatures, LiveRequirements, disabled_requirements
from stagewright.media import verity
from stagewright.media.arguments import InitramfsKind
from stagewright.media.dracut_modules import add_module
from stagewright.media.initramfs import DracutRun, InitramfsSettings
from stagewright.media.inspect import inspect
from stagewright.media.layout import menu_entries
from stagewright.media.payload import Payload

SCRIPTS = Path(verity.__file__).parent / "verified"
BLOCK = 4096


def proven(image: bytes, block: int, blocks: int, root: str) -> bool:
    """Return True if the tree proves a block, computed as the kernel does (drivers/md/dm-verity-target.c)."""
    levels = []
    while not levels or levels[-1] > 1:
        levels.append(-(-(levels[-1] if levels else blocks) // 128))
    if blocks == 1:
        levels = []
    starts = {level: blocks + sum(levels[level + 1 :]) for level in range(len(levels))}
    expected, above = bytes.fromhex(root), len(levels)
    while above > 0:
        above -= 1
        index = block >> (7 * (above + 1))
        page = image[(starts[above] + index) * BLOCK :][:BLOCK]
        if hashlib.sha256(page).digest() != expected:
            return False
        place = (block >> (7 * above)) % 128 * 32
        expected = page[place : place + 32]
    return hashlib.sha256(image[block * BLOCK :][:BLOCK]).digest() == expected


@pytest.mark.parametrize("blocks", [1, 2, 127, 128, 129, 300])
def test_the_tree_proves_every_block_and_no_other(tmp_path: Path, blocks: int) -> None:
    image = tmp_path / "image"
    data = b"".join(number.to_bytes(2, "big") * (BLOCK // 2) for number in range(blocks))
    image.write_bytes(data[:-100])  # the last block is not full
    count, root = verity.append_tree(image).split(":")
    assert int(count) == blocks
    found = image.read_bytes()
    assert found[: len(data) - 100] == data[:-100]
    assert len(found) % BLOCK == 0
    for block in {0, 1, blocks // 2, blocks - 1} & set(range(blocks)):
        assert proven(found, block, blocks, root)
        changed = bytearray(found)
        changed[block * BLOCK + 7] ^= 1
        assert not proven(bytes(changed), block, blocks, root)


def test_the_tree_is_that_of_veritysetup(tmp_path: Path) -> None:
    """Measured: veritysetup format --no-superblock --salt - --data-blocks 130 --hash-offset 532480 (cryptsetup 2.6)."""
    image = tmp_path / "image"
    image.write_bytes(b"stagewright\n" * (130 * BLOCK // 12) + b"0123")
    assert verity.append_tree(image) == "130:e153c1559a17f0cdc37644124842941e8fedf4fc2af54465966e1a6b4492fd17"
    expected = "107670f378850c685ddaaa02c3a10ce984d0c6b55bab6c3a25fd97a01909ddc9"
    assert hashlib.sha256(image.read_bytes()).hexdigest() == expected


def test_an_image_that_does_not_match_the_boot_arguments_is_found(tmp_path: Path) -> None:
    """As `media check` and `netboot from-iso` look at it."""
    (tmp_path / "pxelinux.cfg").mkdir()
    for name in ("boot/gentoo", "boot/gentoo.igz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    image = tmp_path / "image.squashfs"
    image.write_bytes(bytes(200 * BLOCK))
    value = verity.append_tree(image)
    files = "LABEL a\n KERNEL boot/gentoo\n INITRD boot/gentoo.igz\n"
    menu = f"{files} APPEND root=live:/x.img rd.stagewright.verity={value}\n"
    (tmp_path / "pxelinux.cfg/default").write_text(menu, encoding="utf-8")
    assert not inspect(tmp_path, tmp_path / "work").problems
    for offset in (7, 199 * BLOCK, 200 * BLOCK + 3, 202 * BLOCK):
        with image.open("r+b") as stream:
            stream.seek(offset)
            stream.write(b"1")
        assert "rd.stagewright.verity: image.squashfs does not match" in inspect(tmp_path, tmp_path / "work").problems
        image.write_bytes(bytes(200 * BLOCK))
        verity.append_tree(image)


@pytest.mark.parametrize("value", ["", "1", "0:00", "-1:00", "9" * 5000 + ":00", "2:00", "1:zz"])
def test_values_that_prove_nothing(tmp_path: Path, value: str) -> None:
    (tmp_path / "image").write_bytes(bytes(BLOCK))
    assert not verity.proves(value, tmp_path / "image")


def test_every_entry_of_a_medium_has_the_root_hash() -> None:
    payload = Payload("amd64", (kernel(verity=True), kernel("old", verity=True)))
    settings = settings_of(entries=["ram"], consoles=["ttyS0"])
    entries = menu_entries(settings, payload, "t", "LIVE", "7:00ff")
    assert len(entries) == 6
    assert all(entry.arguments.split().count("rd.stagewright.verity=7:00ff") == 1 for entry in entries)
    assert "verity" not in menu_entries(settings, payload, "t", "LIVE")[0].arguments


def test_every_entry_of_a_medium_has_the_size_of_an_image_that_is_not_verified() -> None:
    """dracut's initramfs compares the memory with it before it copies the image."""
    settings = settings_of(entries=["ram"])
    genkernel = replace(kernel("old"), by=InitramfsKind.GENKERNEL)
    entries = menu_entries(settings, Payload("amd64", (kernel(), genkernel)), "t", "LIVE", "", 5 << 19)
    assert ["rd.stagewright.size=3" in entry.arguments.split() for entry in entries] == [True, True, False, False]
    verified = menu_entries(settings, Payload("amd64", (kernel(verity=True),)), "t", "LIVE", "7:00ff", 5 << 19)
    assert "rd.stagewright.size" not in verified[0].arguments


def test_a_payload_verifies_only_if_every_initramfs_does() -> None:
    assert Payload("amd64", (kernel(verity=True), kernel("old", verity=True))).verity
    assert not Payload("amd64", (kernel(verity=True), kernel("old"))).verity


def test_kernels_without_dm_verity_are_reported() -> None:
    needs = LiveRequirements("", efi=False, verity=True)
    live = frozenset({"squashfs", "overlay", "loop", "isofs"})
    assert [option for option, _ in KernelFeatures(None, live, frozenset()).missing(needs)] == ["DM_VERITY"]
    assert not list(KernelFeatures(None, live | {"dm_verity"}, frozenset()).missing(needs))
    missing = dict(KernelFeatures({"DM_VERITY": "m"}, live, frozenset()).missing(needs))
    assert "CRYPTO_SHA256" in missing
    assert "DM_VERITY" not in missing
    text = "# CONFIG_DM_VERITY is not set\n"
    assert disabled_requirements(text, verity=True) == ["DM_VERITY"]
    assert disabled_requirements(text) == []


def test_dracut_gets_the_module_only_if_asked() -> None:
    run = DracutRun("6.1", "/out", Path("/out"), False, 1, verity=True)
    words = run.command(InitramfsSettings())
    assert (
        words[words.index("--add") + 1]
        == "dmsquash-live livenet stagewright-memory stagewright-network stagewright-label stagewright-verity"
    )
    assert "stagewright-verity" not in " ".join(
        DracutRun("6.1", "/o", Path("/o"), False, 1).command(InitramfsSettings())
    )


@as_root
def test_the_module_comes_after_the_one_that_it_replaces(tmp_path: Path) -> None:
    root = make_root(tmp_path, {"usr/lib/dracut/modules.d/90dmsquash-live/x": ""})
    add_module(root, "verified", "91stagewright-verity", EPOCH)
    folder = root.path / "usr/lib/dracut/modules.d/91stagewright-verity"
    assert {path.name for path in folder.iterdir()} == {"module-setup.sh", "live-root.sh", "watch.sh"}
    for path in folder.iterdir():
        subprocess.run(["bash", "-n", path], check=True)


LABELLED = SCRIPTS.parent / "labelled"


def lines_of(script: str, **variables: str) -> list[str]:
    """The output of a script with the functions for labels and a getarg that knows root= only."""
    getarg = 'getarg() { [ "$1" != root= ] || printf "%s\\n" "$ROOT"; }\n'
    text = getarg + (LABELLED / "label.sh").read_text(encoding="utf-8") + script
    env = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(["sh", "-c", text], env=env, capture_output=True, check=True, text=True).stdout.splitlines()


def test_a_label_with_spaces_is_found(tmp_path: Path) -> None:
    """dracut's queue of jobs takes the backslashes of udev's name away, and GRUB 2.06 doubles them (measured)."""
    (tmp_path / r"A\x20B").touch()
    lost, whole = str(tmp_path / "Ax20B"), str(tmp_path / r"A\x20B")
    cases = [
        (r"live:CDLABEL=A\x20B", lost, whole),
        (r"live:LABEL=A\x20B", lost, whole),
        (r"live:CDLABEL=A\\x20B", lost, whole),
        (r"live:CDLABEL=A\x20B", whole, whole),
        (r"live:CDLABEL=OTHER", lost, lost),
        ("live:/image.squashfs.img", "/image.squashfs.img", "/image.squashfs.img"),
    ]
    functions = LABELLED / "label.sh"
    for root, given, expected in cases:
        moved = functions.read_text(encoding="utf-8").replace("/dev/disk/by-label", str(tmp_path))
        assert lines_of(f'{moved}\nlive_device "{given}"', ROOT=root) == [expected]


def test_a_label_is_corrected_before_dracut_reads_it() -> None:
    parse = (LABELLED / "parse-label.sh").read_text(encoding="utf-8").replace(". /lib/stagewright-label.sh", "")
    for given, expected in (
        (r"live:CDLABEL=Gentoo\\x20amd64\\x201", r"live:CDLABEL=Gentoo\x20amd64\x201"),
        (r"live:CDLABEL=Gentoo\x20amd64\x201", r"live:CDLABEL=Gentoo\x20amd64\x201"),
        (r"live:http://a/b\\x20c", r"live:http://a/b\\x20c"),
    ):
        for early in ("root=\n", 'root="$ROOT"\n'):
            assert lines_of(f'{early}{parse}\nprintf "%s\\n" "$root"', ROOT=given) == [expected]


STUBS = """
getarg() { case $1 in
    rd.stagewright.verity=) echo "$VERITY" ;;
    rd.live.squashimg=) echo image.squashfs ;;
    rd.live.dir=) echo / ;;
    rd.live.check) [ -n "$CHECK" ] ;;
esac; }
info() { echo "info: $*"; }
die() { echo "die: $*"; exit 1; }
sleep() { exit 3; }
modprobe() { :; }
udevadm() { :; }
mkdir() { :; }
ln() { echo "ln $*"; }
blkid() { echo "$KIND"; }
losetup() { echo /dev/loop7; }
mount() { echo "mount $*"; }
checkisomd5() { echo "checkisomd5 $*"; }
dmsetup() { echo "dmsetup $*"; cat; }
dd() { case "$*" in "if=/dev/mapper/stagewright-image of=/dev/null bs=4096 skip=$BROKEN count=1") return 1 ;; esac; }
live() { echo "live $*"; }
watch() { :; }
"""


def said(folder: Path, source: str, **variables: str) -> str:
    """Return the output of the script; programs are functions, and it ends where it would stop for ever."""
    text = (SCRIPTS / "live-root.sh").read_text(encoding="utf-8")
    text = text.replace(". /lib/stagewright-label.sh", 'live_device() { echo "$1"; }')
    text = (
        text.replace("\nwatch() {", "\nnot_watch() {")
        .replace('exec "$LIVE_ROOT"', "live")
        .replace('"$LIVE_ROOT"', "live")
    )
    text = text.replace("STATE=/run/initramfs/stagewright-verity", f"STATE={folder}")
    (folder / "script").write_text(STUBS + text, encoding="utf-8")
    env = {"VERITY": "5:00ff", "PATH": "/usr/bin:/bin", **variables}
    command = ["dash", folder / "script", source]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr, done.stderr
    return done.stdout


TABLE = "dmsetup create --readonly stagewright-image\n0 40 verity 1 {0} {0} 4096 4096 5 5 sha256 00ff -\n"


def test_without_the_argument_dracuts_script_gets_everything(tmp_path: Path) -> None:
    assert said(tmp_path, "/dev/sr0", VERITY="").splitlines()[0] == "live /dev/sr0"


def test_an_image_in_a_file_is_opened_and_handed_on(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"")
    text = said(tmp_path, str(tmp_path / "image"))
    assert TABLE.format("/dev/loop7") in text
    assert text.endswith("live /dev/mapper/stagewright-image\n")


@pytest.mark.parametrize("kind", ["squashfs", "", "unknown"])
def test_a_device_with_the_image_is_opened_whatever_its_header_is(tmp_path: Path, kind: str) -> None:
    """A changed header must not decide what is opened."""
    text = said(tmp_path, "/dev/null", KIND=kind)
    assert "verity 1 " in text
    assert "mount" not in text


def test_the_image_of_a_medium_is_opened_and_the_medium_is_shown_afterwards(tmp_path: Path) -> None:
    (tmp_path / "medium").mkdir()
    (tmp_path / "medium/image.squashfs").write_bytes(b"")
    text = said(tmp_path, "/dev/sr0", KIND="iso9660", CHECK="1")
    lines = text.splitlines()
    assert lines[0] == "checkisomd5 --verbose /dev/sr0"
    assert lines[1].startswith("mount -n -t iso9660 -o ro /dev/sr0 ")
    assert lines.index("live /dev/mapper/stagewright-image") < lines.index("ln -sfn /dev/sr0 /run/initramfs/livedev")
    assert lines[-1] == f"mount --bind {tmp_path}/medium /run/initramfs/live"


@pytest.mark.parametrize("broken", ["0", "4"])
def test_a_changed_image_is_reported_and_the_boot_stops(tmp_path: Path, broken: str) -> None:
    text = said(tmp_path, os.devnull, BROKEN=broken)
    assert "die: the image was changed" in text
    assert "live" not in text.split("die:")[1]


@pytest.mark.parametrize("value", ["5", ":00ff", "5:", "0:00", "x:00ff", "5:00 ff", "5:00;reboot", "5:0:0"])
def test_an_invalid_argument_stops_the_boot(tmp_path: Path, value: str) -> None:
    text = said(tmp_path, os.devnull, VERITY=value)
    assert "die: rd.stagewright.verity=" in text
    assert "dmsetup" not in text


RECORDS = """6,1,1,-;Linux version 6.1
3,2,2,-;device-mapper: verity: 7:0: data block 77 is corrupted
 SUBSYSTEM=block
3,2,2,-;device-mapper: verity: 7:0: data block 77 is corrupted
3,3,3,-;device-mapper: verity: 7:0: metadata block 5889 is corrupted
3,4,4,-;device-mapper: verity: 7:0: data block 77 is not there
"""


def test_a_sentence_for_each_changed_block(tmp_path: Path) -> None:
    text = (SCRIPTS / "watch.sh").read_text(encoding="utf-8").replace("/dev/kmsg\n", f"{tmp_path}/said\n")
    subprocess.run(["dash", "-c", text], input=RECORDS, text=True, check=True, timeout=60)
    assert (tmp_path / "said").read_text(encoding="utf-8").splitlines() == [
        "<2>stagewright: the image was changed: data block 77 does not match the boot arguments",
        "<2>stagewright: the image was changed: metadata block 5889 does not match the boot arguments",
    ]
