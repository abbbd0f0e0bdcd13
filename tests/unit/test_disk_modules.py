"""dracut modules for disks: their scripts, run by dash with the real programs on files."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from stagewright.media import initramfs
from stagewright.media.disk.verity_partition import make_hash_partition

MEDIA = Path(initramfs.__file__).parent
SCRIPTS = sorted(
    path
    for folder in initramfs.DISK_MODULES.values()
    for path in (MEDIA / folder).glob("*.sh")
    if "setup" not in path.name
)

dash = pytest.mark.skipif(not shutil.which("dash"), reason="NOT TESTED: needs dash")


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="NOT TESTED: needs shellcheck")
def test_scripts_have_no_findings() -> None:
    given = "SC1091,SC2154,SC2034,SC2012,SC2317"  # functions and variables of dracut; names in /sys are plain
    subprocess.run(["shellcheck", "-s", "sh", "-e", given, *SCRIPTS], check=True)


def stand_in(tmp_path: Path, disk: Path, sectors: int, partitions: dict[int, tuple[int, int]]) -> dict[str, str]:
    """A /sys and a library of dracut for one disk. Returns what to replace in scripts."""
    block = tmp_path / "sys/block/vda"
    for number, (start, size) in partitions.items():
        folder = block / f"vda{number}"
        folder.mkdir(parents=True)
        for name, value in (("partition", number), ("start", start), ("size", size)):
            (folder / name).write_text(f"{value}\n", encoding="utf-8")
    (block / "size").write_text(f"{sectors}\n", encoding="utf-8")
    classes = tmp_path / "sys/class/block"
    classes.mkdir(parents=True)
    for entry in (block, *(block / f"vda{number}" for number in partitions)):
        (classes / entry.name).symlink_to(entry)
    return {
        "/sys/class/block": str(classes),
        '"/dev/$disk"': f'"{disk}"',
        '"/dev/$last"': f'"{disk}"',
        "/lib/stagewright-disk.sh": str(tmp_path / "lib.sh"),
    }


def run_script(name: str, changes: dict[str, str], before: str) -> str:
    text = (MEDIA / name).read_text(encoding="utf-8")
    for old, new in changes.items():
        text = text.replace(old, new)
    done = subprocess.run(["dash", "-c", f"{before}\n{text}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


DRACUT = """
PATH=$PATH:/usr/sbin:/sbin
getarg() { case $1 in root=) echo PARTUUID=x ;; rd.luks.uuid=) echo luks-1234 ;; esac; }
label_uuid_to_dev() { echo "$root"; }
info() { echo "info: $*"; }
warn() { echo "warn: $*"; }
partx() { flock -n "$4" true && echo "warn: not locked"; echo "partx $*"; }
udevadm() { flock -n "$disk_file" true || echo "warn: still locked"; echo "udevadm $*"; }
"""


@dash
@pytest.mark.skipif(not shutil.which("sfdisk", path="/usr/sbin:/sbin:/usr/bin"), reason="NOT TESTED: needs sfdisk")
@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("marked", [True, False])
def test_a_marked_last_partition_grows_to_the_end_of_its_disk(tmp_path: Path, marked: bool, encrypted: bool) -> None:
    disk = tmp_path / "disk.img"
    with disk.open("wb") as stream:
        stream.truncate(20 << 20)
    attributes = ', attrs="GUID:59"' if marked else ""
    table = (
        f"label: gpt\nstart=2048, size=2048, uuid=11111111-1111-1111-1111-111111111111\n"
        f"start=4096, size=34816{attributes}\n"
    )
    subprocess.run(["/sbin/sfdisk", "--quiet", disk], input=table.encode(), check=True)
    with disk.open("r+b") as stream:
        stream.truncate(50 << 20)
    changes = stand_in(tmp_path, disk, 102400, {1: (2048, 2048), 2: (4096, 34816)})
    library = (MEDIA / "grow/disk-lib.sh").read_text(encoding="utf-8")
    for old, new in changes.items():
        library = library.replace(old, new)
    device = tmp_path / "vda2"
    device.touch()
    if encrypted:  # and not open yet
        (tmp_path / "luks").mkdir()
        (tmp_path / "luks/1234").symlink_to(device)
        library = library.replace("/dev/disk/by-uuid", str(tmp_path / "luks"))
    (tmp_path / "lib.sh").write_text(library, encoding="utf-8")
    dracut = f"root={tmp_path / 'none' if encrypted else device}\ndisk_file={disk}\n{DRACUT}"
    before = json.loads(subprocess.check_output(["/sbin/sfdisk", "--json", disk], stderr=subprocess.DEVNULL))
    said = run_script("grow/grow-partition.sh", changes, dracut)
    shown = subprocess.run(["/sbin/sfdisk", "--json", disk], capture_output=True, text=True, check=True)
    first, last = json.loads(shown.stdout)["partitiontable"]["partitions"]
    old_first, old_last = before["partitiontable"]["partitions"]
    if not marked:
        assert (said, last) == ("", old_last)
        return
    assert "partx --update --nr 2" in said
    assert f"udevadm trigger --action=change --name-match={disk}" in said
    assert "warn" not in said
    assert (first, last["start"], last["uuid"], last["attrs"]) == (old_first, 4096, old_last["uuid"], "GUID:59")
    assert last["start"] + last["size"] == 102400 - 2048, "a whole MiB, for LUKS2 with sectors of 4 KiB"
    assert "backup" not in shown.stderr, "the backup table is at the end of the disk"
    text = tmp_path / "sys/block/vda/vda2/size"
    text.write_text(f"{last['size']}\n", encoding="utf-8")
    assert run_script("grow/grow-partition.sh", changes, dracut) == "", "there is nothing left to do"


@dash
def test_a_root_is_opened_with_the_parameters_of_its_hash_partition(tmp_path: Path) -> None:
    data, hashes = tmp_path / "one", tmp_path / "two"
    data.write_bytes(b"x" * 4096 * 200)
    pair = make_hash_partition(data, hashes)
    before = f"""
set -- one two {pair.root_hash}
getarg() {{ :; }}
die() {{ echo "die: $*"; exit 1; }}
info() {{ echo "info: $*"; }}
modprobe() {{ :; }}
udevadm() {{ :; }}
dmsetup() {{ echo "table: $(cat)"; }}
"""
    changes = {"/dev/disk/by-partuuid": str(tmp_path), "[ -b ": "[ -f ", "if=/dev/mapper/root": "if=/dev/zero"}
    said = run_script("roothash/open-root.sh", changes, before)
    salt = hashes.read_bytes()[88:120].hex()
    assert f"table: 0 1600 verity 1 {data} {hashes} 4096 4096 200 1 sha256 {pair.root_hash} {salt}" in said


@dash
@pytest.mark.parametrize(
    ("mode", "systemd", "content", "written"),
    [
        ("rw", False, "", True),
        ("rw", False, "uninitialized\n", True),
        ("rw", True, "", False),
        ("rw", False, "0123456789abcdef0123456789abcdef\n", False),
    ],
)
def test_a_machine_gets_an_id_unless_systemd_makes_it(
    tmp_path: Path, *, mode: str, systemd: bool, content: str, written: bool
) -> None:
    root = tmp_path / "sysroot"
    (root / "etc").mkdir(parents=True)
    own = root / "etc/machine-id"
    own.write_text(content, encoding="utf-8")
    if systemd:
        (root / "usr/lib/systemd").mkdir(parents=True)
        (root / "usr/lib/systemd/systemd").touch()
    (tmp_path / "mounts").write_text(f"/dev/vda2 {root} ext4 {mode},noatime 0 0\n", encoding="utf-8")
    changes = {"/proc/mounts": str(tmp_path / "mounts")}
    assert run_script("grow/machine-id.sh", changes, f"NEWROOT={root}\n{DRACUT}") == ""
    text = own.read_text(encoding="utf-8")
    assert (text != content) == written
    if written:
        assert len(text) == 33
        assert set(text.strip()) <= set("0123456789abcdef")


@dash
def test_an_id_is_kept_in_var_if_the_root_cannot_be_changed(tmp_path: Path) -> None:
    root, var = tmp_path / "sysroot", tmp_path / "var"
    (root / "etc").mkdir(parents=True)
    var.mkdir()
    (root / "etc/machine-id").touch()
    (root / "etc/fstab").write_text(
        "# fstab\nPARTUUID=a\t/efi\tvfat\nPARTUUID=b\t/var\text4\tnoatime\t0 2\n", encoding="utf-8"
    )
    (tmp_path / "mounts").write_text(f"/dev/mapper/root {root} erofs ro,relatime 0 0\n", encoding="utf-8")
    changes = {"/proc/mounts": str(tmp_path / "mounts"), "/run/": f"{tmp_path}/"}
    place = tmp_path / "stagewright-var"
    library = f"""{DRACUT}
NEWROOT={root}
umount() {{ :; }}
label_uuid_to_dev() {{ echo "device of $1" >&2; }}
mount() {{ echo "mount $*"; [ -L {place} ] || {{ rmdir {place}; ln -s {var} {place}; }}; }}
"""
    said = run_script("grow/machine-id.sh", changes, library)
    assert "device of PARTUUID=b" in said
    assert f"mount --bind {tmp_path}/machine-id {root}/etc/machine-id" in said
    first = (tmp_path / "machine-id").read_text(encoding="utf-8")
    run_script("grow/machine-id.sh", changes, library)
    assert (tmp_path / "machine-id").read_text(encoding="utf-8") == first, "the next start has the same id"
    assert (var / "lib/stagewright/machine-id").read_text(encoding="utf-8") == first
