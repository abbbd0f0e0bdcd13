"""netboot: kernels whose initramfs is a whole system, from a root of busybox with a stand-in for genkernel.

A real kernel takes minutes. The genkernel here packs its overlay into an initramfs, as the real one does with
--initramfs-overlay; instead of a kernel it writes a file with its arguments. Everything else is real.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from integration.archives import busybox_root, folder, link, member
from integration.support import build, edit, notices, states, write_project

pytestmark = pytest.mark.real

GENKERNEL = """#!/bin/sh
set -e
version=6.6.0
for word; do
    case $word in
        --initramfs-overlay=*) overlay=${word#*=} ;;
        --linuxrc=*) linuxrc=${word#*=} ;;
        --busybox-config=*) busybox=${word#*=} ;;
        --kernel-append-localversion=*) version=$version${word#*=} ;;
    esac
done
mkdir -p /boot
cat "$linuxrc" "$busybox" > /boot/System.map-$version
cd "$overlay"
find . | sort | cpio -o -H newc > /boot/initramfs-$version.img
echo "$@" > /boot/vmlinuz-$version
"""

PROJECT = """
[seeds.it]
file = "seed.tar"
[stages.net]
kind = "netboot"
root = "it"
files = ["/opt/tool*", "/opt/lib.so", "/opt/data", "/lib/lib*", "/opt/late"]
root_overlay = ["more"]
overlay = ["image"]
busybox_config = "busybox.config"
linuxrc = "linuxrc"
[stages.net.kernels.small]
tree = "/usr/src/linux"
build = "genkernel"
genkernel_arguments = ["--all-ramdisk-modules"]
[stages.net.kernels.large]
tree = "/usr/src/linux"
build = "genkernel"
extraversion = "two"
"""

APPLETS = ("cp", "cpio", "find", "sort", "make")  # the last one is only looked for, as genkernel would run it

MISC = ["large.igz", "small.igz", "System-large.map", "System-small.map"]


def busybox() -> Path:
    found = shutil.which("busybox")
    if found is None:
        pytest.skip("NOT TESTED: no busybox (package busybox-static)")
    return Path(found)


def programs(path: Path) -> bytes:
    """Return a shared object with symbols that strip removes."""
    source, plain = path.with_suffix(".s"), path.with_suffix(".o")
    source.write_text(".globl seen\nseen: .long 1\nunseen: .long 2\n", encoding="utf-8")
    subprocess.run(["as", source, "-o", plain], check=True)
    subprocess.run(["ld", "-shared", plain, "-o", path], check=True)
    return path.read_bytes()


def strip() -> dict[str, bytes]:
    """Return this machine's strip and its libraries, by their paths."""
    found = shutil.which("strip")
    assert found, "binutils are in packages/apt.txt"
    linked = subprocess.run(["ldd", found], check=True, capture_output=True, text=True).stdout
    names = ["/usr/bin/strip", *re.findall(r"(/\S+) \(", linked)]
    return {name: Path(found if name == "/usr/bin/strip" else name).read_bytes() for name in names}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = write_project(tmp_path / "project", PROJECT)
    library = programs(tmp_path / "lib.so")
    # The root's strip is the machine's with its libraries; /lib is a link, as it is with a merged /usr.
    own = {
        name.replace("/lib/", "/usr/lib/", 1) if name.startswith("/lib/") else name: data
        for name, data in strip().items()
    }
    members = [folder("usr/lib"), link("lib", "usr/lib"), *(member(name[1:], data) for name, data in own.items())]
    members += [link(f"bin/{name}", "busybox") for name in APPLETS]
    members += [
        member("usr/bin/genkernel", GENKERNEL.encode()),
        member("usr/src/linux/Makefile", b""),
        member("usr/lib/libx.so.1.2", library, mode=0o755),
        link("usr/lib/libx.so.1", "libx.so.1.2"),
        member("opt/tool-a", b"#!/bin/sh\n", mode=0o4755),
        member("opt/lib.so", library),
        member("opt/secret", b"not listed"),
        member("opt/data/deep/file", b"data", mode=0o640),
        link("opt/data/out", "/etc/shadow"),
    ]
    busybox_root(path / "seed.tar", busybox(), members)
    for name, text in {
        "more/opt/late": "late",
        "image/opt/tool-a": "from the overlay",
        "image/init.d/start": "start",
        "busybox.config": "CONFIG_ASH=y\n",
        "linuxrc": "#!/bin/sh\n",
    }.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text, encoding="utf-8")
    return path


def unpacked(initramfs: Path, target: Path) -> Path:
    target.mkdir()
    words = [busybox(), "cpio", "-i", "-d", "-F", initramfs.absolute()]
    subprocess.run(words, cwd=target, check=True, capture_output=True)
    return target


def test_the_initramfs_holds_the_listed_files_alone(project: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    done = build("net", cwd=project, store=store)
    out = project / "out/net"
    assert sorted(path.name for path in (out / "kernels").iterdir()) == ["large", "misc", "small"]
    assert sorted((path.name for path in (out / "kernels/misc").iterdir()), key=str.lower) == MISC
    said = (out / "kernels/small").read_text(encoding="utf-8").split()
    assert said[-3:] == ["--linuxrc=/tmp/stagewright-linuxrc", "--all-ramdisk-modules", "all"]
    assert "--netboot" in said
    assert (out / "kernels/misc/System-large.map").read_text(encoding="utf-8") == "#!/bin/sh\nCONFIG_ASH=y\n"
    image = unpacked(out / "kernels/misc/small.igz", tmp_path / "image")
    found = {str(path.relative_to(image)) for path in image.rglob("*") if path.is_symlink() or not path.is_dir()}
    libraries = {name for name in found if name.startswith("lib/")}
    assert {"lib/libx.so.1", "lib/libx.so.1.2"} <= libraries
    assert found - libraries == {
        "opt/tool-a",
        "opt/lib.so",
        "opt/data/deep/file",
        "opt/data/out",
        "opt/late",
        "init.d/start",
    }
    assert (image / "opt/tool-a").read_text(encoding="utf-8") == "from the overlay"
    assert (image / "opt/data/out").readlink() == Path("/etc/shadow")  # nothing was followed
    assert (image / "opt/data/deep/file").stat().st_mode & 0o777 == 0o640
    sections = subprocess.run(["readelf", "-S", image / "opt/lib.so"], check=True, capture_output=True, text=True)
    assert ".dynsym" in sections.stdout and ".symtab" not in sections.stdout
    assert not [text for text in notices(done) if "strip" in text]
    assert states("net", cwd=project, store=store)["net"] == "cached"


def test_everything_missing_is_named_before_a_kernel_is_built(project: Path, tmp_path: Path) -> None:
    edit(project, '"/opt/late"', '"/opt/late", "/opt/none", "/usr/lib64/libnone.so.*"')
    busybox_root(project / "seed.tar", busybox(), [member("opt/tool", b""), member("usr/src/linux/Makefile", b"")])
    done = build("net", cwd=project, store=tmp_path / "store", check=False)
    assert done.reasons == {"net": "environment-lacks"}
    for word in ("genkernel", "/opt/none", "/usr/lib64/libnone.so.*", "/opt/data"):
        assert word in done.stderr
    assert "/opt/late" not in done.stderr


def test_without_strip_symbols_stay_and_this_is_reported(project: Path, tmp_path: Path) -> None:
    library = programs(tmp_path / "other.so")
    members = [link(f"bin/{name}", "busybox") for name in APPLETS]
    members += [member("usr/bin/genkernel", GENKERNEL.encode()), member("usr/src/linux/Makefile", b"")]
    busybox_root(project / "seed.tar", busybox(), [*members, member("opt/lib.so", library)])
    edit(project, '["/opt/tool*", "/opt/lib.so", "/opt/data", "/lib/lib*", "/opt/late"]', '["/opt/lib.so"]')
    done = build("net", cwd=project, store=tmp_path / "store")
    assert [text for text in notices(done) if "strip" in text]
    image = unpacked(project / "out/net/kernels/misc/large.igz", tmp_path / "image")
    assert (image / "opt/lib.so").read_bytes() == library
