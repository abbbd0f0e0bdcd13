"""A live ISO of the demo's seed, against the same programs by hand; and the demo's media after a small change."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from bench.embedded import EMERGE, by_hand, environment
from bench.measure import Row, Setting, best, copy_of_demo, keys_of, stagewright, timed
from stagewright.media.iso import EFI_SYSTEM_PARTITION

ROUNDS = 5

_STAGES = """
[stages.big-live]
kind = "livecd-stage1"
root = "{seed}"
root_overlay = ["big"]

[stages.big]
kind = "livecd-stage3"
live = "big-live"
boot = "boot"
"""

_SMALL = '\n[seeds.small]\nfile = "small"\n'

_BY_HAND = f"""
set -e
mkdir "$WORK/root" "$WORK/upper" "$WORK/work" "$WORK/esp" "$WORK/iso"
mount -t overlay overlay -o "lowerdir=$LAYERS,upperdir=$WORK/upper,workdir=$WORK/work" "$WORK/root"
mkdir -p "$WORK/root/usr/lib/modules"
for path in $REMOVED; do rm -rf "$WORK/root/$path"; done
mount --bind "$PAYLOAD/modules" "$WORK/root/usr/lib/modules"
image="$WORK/iso/image.squashfs"
mksquashfs "$WORK/root" "$image" -comp zstd -Xcompression-level 3 -b 1M -processors "$(nproc)" \\
    -noappend -no-progress -no-recovery
blocks=$(($(stat -c %s "$image") / 4096))
veritysetup format --no-superblock --salt=- --hash-offset=$((blocks * 4096)) --data-blocks=$blocks "$image" "$image"
cp -al "$PAYLOAD/boot" "$WORK/iso/boot"
mkdir -p "$WORK/esp/EFI/BOOT"
cp -r "$WORK/iso/boot" "$WORK/esp/boot"
cp "$PAYLOAD/loaders/systemd-boot/BOOTX64.EFI" "$WORK/esp/EFI/BOOT/BOOTX64.EFI"
truncate -s $(($(du -sm "$WORK/esp" | cut -f 1) + 4))M "$WORK/esp.img"
mkfs.vfat "$WORK/esp.img"
mcopy -s -i "$WORK/esp.img" "$WORK/esp"/* ::
xorriso -as mkisofs -quiet -iso-level 3 -rational-rock -r -volid LIVE -partition_offset 16 --protective-msdos-label \\
    -append_partition 2 {EFI_SYSTEM_PARTITION} "$WORK/esp.img" -appended_part_as_gpt \\
    -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot -o "$WORK/out.iso" "$WORK/iso"
"""
"""The work of an expert: the modules are mounted, and no digest is computed but those of dm-verity."""


def measure(setting: Setting) -> list[Row]:
    """Measure Stagewright and the floor in turns, and then builds after small changes."""
    project = _project(setting)
    wanted = ("big", "iso", "pxe")
    stagewright(project, setting.store, "build", *wanted, "--progress=quiet")
    ours, floors = [], []
    for number in range(setting.count(ROUNDS)):
        _say(project / "big/etc/motd")
        ours.append(timed(stagewright, project, setting.store, "build", "big", "--progress=quiet"))
        layers, payload = _trees(project, setting.store)
        floors.append(timed(_by_hand, layers, payload, setting.folder / f"live{number}"))
    (mine, my_cpu), (floor, its_cpu) = map(best, (ours, floors))
    note = f"{mine:.2f} s against {floor:.2f} s, of processors {my_cpu:.2f} s against {its_cpu:.2f} s"
    return [
        Row("live ISO from a stage / the same by hand", my_cpu / its_cpu, 1.3, "", note),
        _change(project, setting),
        *([] if setting.tiny else [_package(project, setting)]),
    ]


def _project(setting: Setting) -> Path:
    """Return a copy of the demo with a live ISO of its seed, or of a few files if the input is to be tiny."""
    project = copy_of_demo(setting, "live")
    file = project / "stagewright.toml"
    text = file.read_text(encoding="utf-8") + _STAGES.format(seed="small" if setting.tiny else "debian")
    if setting.tiny:
        (project / "small/usr/bin").mkdir(parents=True)
        (project / "small/usr/bin/program").write_text("program\n" * 1000, encoding="utf-8")
        text = text.replace('root = "system"', 'root = "small"') + _SMALL
    file.write_text(text, encoding="utf-8")
    _say(project / "big/etc/motd")
    _say(project / "overlays/live/etc/motd")  # another run may have left a result in the store
    return project


def _say(motd: Path) -> None:
    motd.parent.mkdir(parents=True, exist_ok=True)
    motd.write_text(f"measured at {time.time_ns()}\n", encoding="utf-8")


_PACKAGE = f"""
{EMERGE}
LAYERS="$OVERLAY:$WORK/target"
WORK="$WORK/media"
mkdir "$WORK"
{_BY_HAND}
mkdir "$WORK/http"
cp -al "$WORK/iso"/* "$WORK/http"
"""
"""A package and what needs it, an ISO, and a folder of the same files for network boot."""

CHANGED = "app-misc/greet"


def _by_hand(layers: str, payload: str, work: Path) -> None:
    work.mkdir()
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LAYERS": layers, "PAYLOAD": payload, "WORK": str(work)}
    by_hand(_BY_HAND, env)()
    shutil.rmtree(work)


def _trees(project: Path, store: Path) -> tuple[str, str]:
    """Return the layers of the live root, as an option of mount(8), and the payload."""
    keys = keys_of(project, store, "big")
    meta = json.loads((store / "layers" / keys["big-live"] / "meta.json").read_text(encoding="utf-8"))
    layers = ":".join(str(store / "layers" / key / "tree") for key in meta["stack"])
    return layers, str(store / "artifacts" / keys["boot"] / "tree")


def _change(project: Path, setting: Setting) -> Row:
    """Measure the demo's media after a change of one file of the overlay of the live root."""
    costs = []
    for _ in range(setting.count(ROUNDS)):
        _say(project / "overlays/live/etc/motd")
        costs.append(timed(stagewright, project, setting.store, "build", "iso", "pxe", "--progress=quiet"))
    wall, processor = best(costs)
    return Row("motd changed -> ISO and network set", processor, 2.5, "s", f"of processors; {wall:.2f} s by the clock")


def _package(project: Path, setting: Setting) -> Row:
    """Measure the demo's media after a change of a script that one of its packages installs, and the same by hand."""
    script = project / f"repo/{CHANGED}/files/greet"
    text, ours, floors = script.read_text(encoding="utf-8"), [], []
    for number in range(setting.count(ROUNDS)):
        script.write_text(f"{text}# measured at {time.time_ns()}\n", encoding="utf-8")
        ours.append(timed(stagewright, project, setting.store, "build", "iso", "pxe", "--progress=quiet"))
        work = setting.folder / f"package{number}"
        env = environment(project, setting.store, work, f"virtual/demo-system {CHANGED}", CHANGED)
        env["OVERLAY"] = str(project / "overlays/live")
        env["PAYLOAD"] = _trees(project, setting.store)[1]
        env["REMOVED"] = "var/db/pkg var/cache/edb var/lib/portage usr/include"
        floors.append(timed(by_hand(_PACKAGE, env)))
    (mine, my_cpu), (floor, its_cpu) = map(best, (ours, floors))
    note = f"{mine:.2f} s against {floor:.2f} s, of processors {my_cpu:.2f} s against {its_cpu:.2f} s"
    return Row("one package changed -> ISO and network set / by hand", my_cpu / its_cpu, 1.3, "", note)
