"""Network sets from the layouts of many projects' media: the right parts and arguments, or a refusal that says why.

Each case is a small ISO in one of these layouts, with the files that decide. No machine starts.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from test_netboot_from_iso import DRACUT, FOREIGN, GENKERNEL, LIVE, MICROCODE, cpio

from stagewright.errors import Reason, StagewrightError
from stagewright.netboot.from_iso import from_iso

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("xorriso", "mksquashfs", "unsquashfs", "gzip")),
    reason="NOT TESTED: no xorriso, squashfs-tools or gzip",
)

IMAGE = b"hsqs" + bytes(4096)
ARCHISO = gzip.compress(cpio({"init": b"", "hooks/archiso": b"", "hooks/archiso_pxe_http": b""}), mtime=0)
ARCHISO_OFFLINE = gzip.compress(cpio({"init": b"", "hooks/archiso": b""}), mtime=0)
LIVE_BOOT = gzip.compress(cpio({"init": b"", "usr/lib/live/boot/9990-mount-http.sh": b""}), mtime=0)
CASPER = MICROCODE + gzip.compress(cpio({"init": b"", "scripts/casper": b""}), mtime=0)
DRACUT_HTTP = gzip.compress(cpio({"usr/lib/dracut/modules.txt": b"dmsquash-live\nlivenet\n"}), mtime=0)

BLS = "linux /boot/gentoo\ninitrd /boot/ucode.img\ninitrd /boot/gentoo.igz\n"

Files = dict[str, bytes | str]


def grub(body: str, **more: bytes | str) -> Files:
    """Return the files of a medium by dracut with this grub.cfg."""
    files: Files = {
        "boot/grub/grub.cfg": body,
        "boot/gentoo": b"kernel",
        "boot/gentoo.igz": DRACUT,
        "image.squashfs": IMAGE,
    }
    return {**files, **{name.replace("__", "/"): data for name, data in more.items()}}


def entry(line: str = f"/boot/gentoo {LIVE} quiet", initrd: str = "/boot/gentoo.igz", title: str = "'Live'") -> str:
    return f"menuentry {title} {{\n\tlinux {line}\n\tinitrd {initrd}\n}}\n"


def arch(initramfs: bytes, *more: str, image: str = "arch/x86_64/airootfs.sfs") -> Files:
    line = "/arch/boot/x86_64/vmlinuz-linux archisobasedir=arch archisosearchuuid=2026-01-01-00-00-00-00"
    return {
        "boot/grub/grub.cfg": entry(line, "/arch/boot/x86_64/initramfs-linux.img"),
        "arch/boot/x86_64/vmlinuz-linux": b"kernel",
        "arch/boot/x86_64/initramfs-linux.img": initramfs,
        **dict.fromkeys([image, *more], IMAGE),
    }


def debian(initramfs: bytes, *images: str) -> Files:
    line = "/live/vmlinuz boot=live components quiet splash findiso=${iso_path}"
    files: Files = {"boot/grub/grub.cfg": entry(line, "/live/initrd.img"), "live/vmlinuz": b"kernel"}
    return {**files, "live/initrd.img": initramfs, **dict.fromkeys(images, IMAGE)}


def ubuntu(initramfs: bytes) -> Files:
    files: Files = {"boot/grub/grub.cfg": entry("/casper/vmlinuz  --- quiet splash", "/casper/initrd")}
    layers = ("minimal", "minimal.standard", "minimal.standard.live")
    images = {f"casper/{layer}.squashfs": IMAGE for layer in layers}
    return {**files, "casper/vmlinuz": b"kernel", "casper/initrd": initramfs, **images}


@dataclass(frozen=True)
class Layout:
    """A medium and the expected set. ``has`` and ``lacks`` are words of the kernel's arguments, for iPXE."""

    files: Files
    has: tuple[str, ...] = ("root=live:/image.squashfs.img", "quiet")
    lacks: tuple[str, ...] = ("\\", "#", "---")
    kernel: str = "boot/gentoo"
    initramfs: str = "boot/gentoo.igz"
    image: str = "image.squashfs"
    title: str = "Live"
    more: tuple[str, ...] = ()
    options: tuple[str, ...] = ("-R",)
    by: str = "dracut"
    refused: str = ""


@dataclass(frozen=True)
class Other(Layout):
    """A medium of another project, whose image is fetched."""

    kernel: str = field(default="casper/vmlinuz")
    initramfs: str = field(default="casper/initrd")


LAYOUTS = {
    "two initrds in a line": Layout(
        grub(entry(initrd="/boot/ucode.img /boot/gentoo.igz"), **{"boot__ucode.img": MICROCODE})
    ),
    "names relative to isolinux.cfg": Layout(
        {
            "isolinux/isolinux.cfg": "label g\n kernel gentoo\n append root=/dev/ram0 cdroot quiet initrd=gentoo.igz\n",
            "isolinux/gentoo": b"k",
            "isolinux/gentoo.igz": GENKERNEL,
            "image.squashfs": IMAGE,
        },
        ("root=/dev/ram0", "loop=/image.squashfs.img", "quiet"),
        kernel="isolinux/gentoo",
        initramfs="isolinux/gentoo.igz",
        title="g",
        by="genkernel",
    ),
    "commands in variables": Layout(
        grub(
            "set linux=linux\nset initrd=initrd\n"
            + entry().replace("linux /", "$linux ($root)/").replace("\tinitrd ", "\t$initrd ($root)")
        )
    ),
    "an entry in one line": Layout(
        grub(f"menuentry 'Live' {{ linux /boot/gentoo {LIVE} quiet; initrd /boot/gentoo.igz; }}")
    ),
    "quoted paths": Layout(grub(entry(f'"/boot/gentoo" {LIVE} quiet', '"/boot/gentoo.igz"'))),
    "a continued line": Layout(grub(entry(f"/boot/gentoo {LIVE} \\\n\t\tnomodeset quiet")), ("nomodeset", "quiet")),
    "a comment behind arguments": Layout(
        grub(entry(f"/boot/gentoo {LIVE} quiet # keymap=de")), lacks=("#", "keymap=de")
    ),
    "options before the title": Layout(grub(entry(title="--hotkey=l --class gnu 'Live'"))),
    "linux16 and initrd16": Layout(grub(entry().replace("linux", "linux16").replace("initrd", "initrd16"))),
    "a submenu with conditions": Layout(grub(f"if true; then\nsubmenu 'More' {{\n{entry()}}}\nfi\n")),
    "lines that end like DOS's": Layout(grub(entry().replace("\n", "\r\n"))),
    "an entry as a comment": Layout(grub("".join(f"#{line}\n" for line in entry("/old").splitlines()) + entry())),
    "a hypervisor beside it": Layout(
        grub(
            "menuentry 'Xen' { multiboot2 /xen.gz; module2 /boot/gentoo x; module2 /boot/gentoo.igz; }\nset default=1\n"
            + entry()
        )
    ),
    "the name of the ISO as an argument": Layout(
        grub(entry(f"/boot/gentoo {LIVE} quiet findiso=$isofile iso-scan/filename=${{iso}}")),
        lacks=("$isofile", "findiso"),
    ),
    "the kernel in a variable": Layout(grub("set k=/boot/gentoo\n" + entry(f"$k {LIVE} quiet"))),
    "a title in UTF-8": Layout(grub(entry(title="'Líve ☺'")), title="Líve"),
    "entries of the boot loader specification": Layout(
        {
            "loader/entries/live.conf": f"title Live\n{BLS}options {LIVE} quiet\n",
            "boot/gentoo": b"k",
            "boot/gentoo.igz": DRACUT,
            "boot/ucode.img": MICROCODE,
            "image.squashfs": IMAGE,
        }
    ),
    "Gentoo's by dracut": Layout(
        grub(entry(f"/boot/gentoo dokeymap {LIVE} cdroot quiet")),
        ("root=live:/image.squashfs.img", "dokeymap"),
        lacks=("CDLABEL", "cdroot"),
    ),
    "Gentoo's by genkernel": Layout(
        grub(
            entry("/boot/gentoo root=/dev/ram0 looptype=squashfs loop=/image.squashfs cdroot docache", title="Cached")
            + entry("/boot/gentoo root=/dev/ram0 looptype=squashfs loop=/image.squashfs cdroot quiet"),
            **{"boot__gentoo.igz": GENKERNEL},
        ),
        ("loop=/image.squashfs.img", "cdroot", "quiet"),
        lacks=("docache",),
        by="genkernel",
    ),
    "by dracut with its network module": Layout(
        grub(entry(), **{"boot__gentoo.igz": DRACUT_HTTP}), ("root=live:${base-url}/image.squashfs", "quiet")
    ),
    "Joliet and Rock Ridge": Layout(grub(entry()), options=("-R", "-J")),
    "Joliet alone": Layout(grub(entry()), options=("-J", "-joliet-long", "--norock")),
    "plain names of level 1": Layout(grub(entry()), options=("-iso-level", "1", "--norock"), refused="no squashfs"),
    "Arch": Other(
        arch(ARCHISO, "arch/x86_64/airootfs.sha512"),
        ("archiso_http_srv=${base-url}/", "archisobasedir=arch", "ip=dhcp"),
        ("root=", "archisosearchuuid", "cdroot"),
        kernel="arch/boot/x86_64/vmlinuz-linux",
        initramfs="arch/boot/x86_64/initramfs-linux.img",
        image="arch/x86_64/airootfs.sfs",
        more=("arch/x86_64/airootfs.sha512",),
        by="archiso",
    ),
    "Arch without its hook for HTTP": Other(arch(ARCHISO_OFFLINE), refused="cannot fetch an image over HTTP"),
    "Arch for two architectures": Other(arch(ARCHISO, "arch/i686/airootfs.sfs"), refused="needs one image"),
    "Debian": Other(
        debian(LIVE_BOOT, "live/filesystem.squashfs"),
        ("boot=live", "fetch=${base-url}/image.squashfs", "components"),
        ("root=", "findiso", "cdroot"),
        kernel="live/vmlinuz",
        initramfs="live/initrd.img",
        by="live-boot",
    ),
    "Debian without an image": Other(debian(LIVE_BOOT), refused="none"),
    "Ubuntu": Other(
        ubuntu(CASPER),
        ("netboot=url", "url=${base-url}/image.iso", "ip=dhcp", "quiet"),
        ("root=", "---", "cdroot"),
        image="image.iso",
        by="casper",
    ),
    "an unknown initramfs": Layout(
        grub(entry(), **{"boot__gentoo.igz": FOREIGN}), refused="made by neither dracut nor genkernel"
    ),
}


def make(folder: Path, layout: Layout) -> Path:
    """Write the ISO of a layout."""
    for name, data in layout.files.items():
        path = folder / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    words = [
        "xorriso",
        "-as",
        "mkisofs",
        "-quiet",
        *layout.options,
        "-V",
        "LIVE",
        "-o",
        folder / "x.iso",
        folder / "tree",
    ]
    subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
    return folder / "x.iso"


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_layout(tmp_path: Path, layout: Layout) -> None:
    iso, target = make(tmp_path, layout), tmp_path / "set"
    if layout.refused:
        with pytest.raises(StagewrightError) as caught:
            from_iso(iso, target)
        assert caught.value.reason is Reason.BAD_ARCHIVE
        assert layout.refused in caught.value.message
        assert caught.value.hint
        assert not target.exists()
        return
    made = from_iso(iso, target, combined=False)
    assert (made.entry.title.split(" ☺")[0], made.by) == (layout.title, layout.by)
    assert {role: name.lower() for role, name in made.parts.items()}["kernel"] == layout.kernel.lower()
    assert made.parts["initramfs"].lower() == layout.initramfs.lower()
    assert {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()} >= {
        layout.image,
        *layout.more,
    }
    if layout.image == "image.iso":
        assert (target / "image.iso").read_bytes() == iso.read_bytes()
    script = (target / "boot.ipxe").read_text(encoding="utf-8")
    lines = [line for line in script.splitlines() if line.startswith("kernel ")]
    assert any(set(layout.has) <= set(line.split()) for line in lines), lines
    for line in lines:
        words = line.partition(" || ")[0].split()
        assert not [word for word in words if word.startswith(layout.lacks)], line


@pytest.mark.slow
def test_the_last_session_of_a_medium_is_read(tmp_path: Path) -> None:
    iso = make(tmp_path, LAYOUTS["quoted paths"])
    (tmp_path / "kernel").write_bytes(b"newer")
    words = [
        "xorriso",
        "-dev",
        iso,
        "-boot_image",
        "any",
        "discard",
        "-map",
        tmp_path / "kernel",
        "/boot/gentoo",
        "-commit",
    ]
    subprocess.run(words, check=True, capture_output=True)
    from_iso(iso, tmp_path / "set")
    assert (tmp_path / "set/boot/gentoo").read_bytes() == b"newer"
