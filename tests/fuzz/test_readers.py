"""Every reader of data that others wrote gets changed and hostile inputs.

It may raise StagewrightError and nothing else, and has a limit of time and memory for each input. The number of
examples for each reader is small here; ``make fuzz`` sets STAGEWRIGHT_FUZZ to a large one.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import struct
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import limited

from stagewright.catalyst.auto import looks_like_auto, read_auto
from stagewright.catalyst.catalyst_conf import read_config
from stagewright.catalyst.spec import read_spec
from stagewright.errors import StagewrightError
from stagewright.events import Event
from stagewright.fetch.openpgp import SignedText
from stagewright.kernel.features import parse_options
from stagewright.kinds.registry import kinds
from stagewright.media.digest_checks import check_list
from stagewright.media.initramfs_contents import InitramfsContents
from stagewright.media.inspect import _BootStructures
from stagewright.media.menus import problems_of, read_menu, unified
from stagewright.portage import gpkg
from stagewright.portage.binhosts import Binhosts, Host
from stagewright.portage.ebuilds import by_version
from stagewright.portage.installed import _contents
from stagewright.project.load import load
from stagewright.project.lock import Lock
from stagewright.release.listing import read_contents
from stagewright.root.passwd import Table
from stagewright.root.sourced import with_assignments
from stagewright.seeds.gentoo import _digests, _stages
from stagewright.seeds.oci_image import verified_layers
from stagewright.seeds.tarscan import Bounds, TarScan
from stagewright.vm.console import Console

EXAMPLES = int(os.environ.get("STAGEWRIGHT_FUZZ", "15"))
SECONDS = 2.0

Reader = Callable[[bytes, Path], object]

PROJECT = b"""format = 1
variables = { v = "a", w = "{v}{v}" }
[project]
name = "p"
version = "1"
source_date_epoch = 2026-11-20
[repos.gentoo]
git = "https://example.org/gentoo.git"
ref = "main"
[seeds.base]
bootstrap = "debian"
packages = ["bash"]
[stages."a-{x}"]
kind = "tarball"
root = "base"
matrix = { x = ["1", "2"] }
[stages.t]
kind = "tarball"
root = "base"
"""

LOCK = b"""format = 2
source_date_epoch = 1790000000
[repos.gentoo]
commit = "0123456789012345678901234567890123456789"
tree = "git:0123456789012345678901234567890123456789"
[seeds.base]
size = 12
"""

SPEC = b"""subarch: amd64
target: stage4
version_stamp: 2026
rel_type: default
profile: default/linux/amd64/23.0
source_subpath: default/stage3-amd64-2026
stage4/packages: a/b
    c/d # text
stage4/use:
    x -y
"""

CONF = b"""digests = ["sha512"]
options = ["autoresume", "pkgcache"]
jobs = 4
load-average = 4.0
compression_mode = "pixz_x"
storedir = "/var/tmp/catalyst"
"""

AUTO = b"""ARCH=amd64
SPECS_DIR="${REPO_DIR}/releases/specs"
SPECS="stage1.spec stage3.spec"
A="$ARCH"'b'; A+=$A # comment
SET_x_SPECS=a
SETS="x"
verify() {
  echo
}
"""

GRUB = b"""set default=0
set x="a b"
function go { linux /boot/k $1; }
if [ "$x" = 1 ]; then configfile /b.cfg; fi
menuentry 'A "b"' --class x { linux /boot/k root=live:CDLABEL=X quiet \\
 more
 initrd /boot/m /boot/i }
submenu "S" { menuentry "B" { linuxefi $x/k; initrdefi /i } }
for i in 1 2 3; do echo $i; done
"""

SYSLINUX = b"""DEFAULT a
INCLUDE more.cfg
LABEL a
  MENU LABEL ^A
  KERNEL k
  INITRD i,j
  APPEND root=/dev/x initrd=i
LABEL b
  CONFIG x.cfg
"""

ENTRY = b"title A\nlinux /k\ninitrd /i\noptions root=x\n"

LISTING = b"""# Latest as of Mon, 01 Jan 2026 00:00:00 +0000
# ts=1790000000
20260101T000000Z/stage3-amd64-openrc-20260101T000000Z.tar.xz 123456
"""

DIGESTS = b"# SHA512 HASH\n" + b"0" * 128 + b"  stage3.tar.xz\n# BLAKE2B HASH\n" + b"a" * 128 + b"  other\n"

SUMS = b"0" * 128 + b"  boot/kernel\n" + b"f" * 64 + b" *./a\n"

REPORT = b"""Volume id    : 'X'
El Torito boot img :   1  BIOS  y   none  0x0000  0x00      4         123
El Torito boot img :   2  UEFI  y   none  0x0000  0x00   5760         456
System area summary: MBR protective-msdos-label grub2-mbr
MBR partition      :   1   0x80  0xef          64        1234
GPT type GUID      :   2  28732ac11ff8d211ba4b00a0c93ec93b
GPT start and size :   2  500  1000
"""

MANIFEST = b"""{"schemaVersion": 2, "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
"digest": "sha256:0000000000000000000000000000000000000000000000000000000000000000", "size": 3}]}"""

INDEX = b"ARCH: amd64\nPACKAGES: 1\nVERSION: 0\n\nCPV: app-misc/hello-1\nPATH: app-misc/hello/hello-1-1.gpkg.tar\n\n"

EVENT = b'{"event": "NodeProgress", "node": "a", "done": 1, "total": 2}'

CONTENTS = b"obj /usr/bin/a 0123456789abcdef0123456789abcdef 1700000000\nsym /a -> b 17\ndir /usr\n"

TAR_LISTING = b"""drwxr-xr-x 0/0               0 2026-01-01 00:00 ./
-rw-r--r-- 0/0              12 2026-01-01 00:00 ./a b\\n
hrw-r--r-- 0/0               0 2026-01-01 00:00 ./c link to ./a b\\n
lrwxrwxrwx 0/0               0 2026-01-01 00:00 ./l -> a
crw-r--r-- 0/0             5,1 2026-01-01 00:00 ./dev
"""

PASSWD = b"root:x:0:0:root:/root:/bin/sh\na:x:1000:1000::/home/a:\n"

SHELL = b"A=1\nexport B=\"x y\"\n# c\nC='z'\\''z'\n"

CONSOLE = b"\x1b[2J\x1b[31mlogin:\x1b[0m \r\n\x1b]0;title\x07text\xff\xe2\x82\n$ "

KCONFIG = b'CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D="x"\n'


def package() -> bytes:
    """A binary package (GLEP 78)."""
    members = {"gpkg-1": b"", "metadata.tar": packed({"metadata/PF": b"a-1"}), "image.tar": packed({"image/a": b"x"})}
    records = "".join(gpkg.record(name, len(data), gpkg.digests_of(iter([data]))) for name, data in members.items())
    return packed({f"a-1-1/{name}": data for name, data in {**members, "Manifest": records.encode()}.items()})


def packed(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, size in (("usr", 3), ("etc/" + "x" * 120, 700), ("\u00e9", 0)):
            info = tarfile.TarInfo(name)
            info.size = size
            info.pax_headers = {"size": str(size), "mtime": "1.5"}
            archive.addfile(info, io.BytesIO(bytes(size)))
    return stream.getvalue()


def cpio() -> bytes:
    archive = b""
    for name, data in ((b"init", b"x"), (b"usr/lib/dracut/modules.txt", b"base\n"), (b"TRAILER!!!", b"")):
        fields = [1, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name + b"\0"
        archive += bytes(-len(archive) % 4) + data
        archive += bytes(-len(archive) % 4)
    return archive


def pe() -> bytes:
    section = struct.pack("<8sI4xII", b".cmdline", 5, 5, 0x200).ljust(40, b"\0")
    headers = struct.pack("<4s2xH12xH2x", b"PE\0\0", 2, 0) + section * 2
    return (b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + headers).ljust(0x200, b"\0") + b"quiet"


def in_file(name: str, use: Callable[[Path], object]) -> Reader:
    """Return a reader that gets the data in a file."""

    def read(data: bytes, folder: Path) -> object:
        (folder / name).write_bytes(data)
        return use(folder / name)

    return read


def as_text(use: Callable[[str], object]) -> Reader:
    return lambda data, _: use(data.decode(errors="replace"))


def project(path: Path) -> None:
    load(path.parent, kinds())


def auto(path: Path) -> None:
    looks_like_auto(path)
    read_auto(path, {}, [], [])


def menu(name: str) -> Callable[[str], None]:
    def read(text: str) -> None:
        for entry in read_menu(name, text, lambda _: text):
            list(problems_of(entry, "X", ["boot/k"]))

    return read


def scan(data: bytes, _: Path) -> None:
    found = TarScan("it", Bounds(1000, 1 << 30))
    for start in range(0, len(data), 700):
        found.feed(data[start : start + 700])


def manifest(data: bytes, folder: Path) -> None:
    (folder / "manifest.json").write_bytes(data)
    verified_layers(folder, f"sha256:{hashlib.sha256(data).hexdigest()}", "image")


def index(path: Path) -> None:
    host = Host("h", "https://x", 1, None, path.parent, path.parent)
    path.rename(path.parent / "index/x/Packages")
    found = Binhosts([host], path.parent, path.parent)._index(host)
    sorted(found.values(), key=by_version)


def event(text: str) -> None:
    with contextlib.suppress(ValueError, KeyError):
        Event.from_json(text)


def packed_listing(path: Path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes(), 1))
    read_contents(path)


def console(data: bytes, folder: Path) -> None:
    pieces = iter([data[start : start + 5] for start in range(0, min(len(data), 4000), 5)])
    connection = SimpleNamespace(
        recv=lambda _: next(pieces, b""), sendall=lambda _: None, shutdown=lambda _: None, close=lambda: None
    )
    found = Console(cast("Any", connection), folder / "log")
    assert found.wait_end(20)
    found.tail()
    found.close()


def signed(use: Callable[[SignedText], object]) -> Reader:
    return lambda data, _: use(SignedText(data, cast("Any", None)))


def contents(data: bytes, folder: Path) -> None:
    (folder / "i").write_bytes(data)
    InitramfsContents.of(folder / "i", folder)


READERS: dict[str, tuple[Sequence[bytes], Reader]] = {
    "project": ([PROJECT], in_file("stagewright.toml", project)),
    "lock": ([LOCK], in_file("stagewright.lock", lambda path: Lock.load(path.parent))),
    "spec": ([SPEC], in_file("x.spec", read_spec)),
    "catalyst.conf": ([CONF], in_file("catalyst.conf", lambda path: read_config([path], []))),
    "catalyst-auto": ([AUTO], in_file("x.conf", auto)),
    "grub": ([GRUB], as_text(menu("boot/grub/grub.cfg"))),
    "syslinux": ([SYSLINUX], as_text(menu("isolinux/isolinux.cfg"))),
    "loader entry": ([ENTRY], as_text(menu("loader/entries/a.conf"))),
    "listing": ([LISTING], signed(_stages)),
    "digests": ([DIGESTS], signed(lambda text: _digests(text, "stage3.tar.xz"))),
    "sums": ([SUMS], lambda data, folder: check_list("sums", data.decode(errors="replace"), folder)),
    "iso report": ([REPORT], as_text(lambda text: list(_BootStructures.of(text).ways({"EFI/BOOT/BOOTX64.EFI": 1})))),
    "tar": ([tar()], scan),
    "cpio": ([cpio(), bytes(512) + cpio() + gzip.compress(cpio(), 1)], contents),
    "pe": ([pe()], lambda data, _: unified("x.efi", data)),
    "oci": ([MANIFEST], manifest),
    "binary package": ([package()], in_file("p", lambda path: gpkg.read(path).metadata(path.parent))),
    "Manifest of a binary package": ([b"DATA gpkg-1 0 SHA512 0\n"], lambda data, _: gpkg._records(Path("p"), data)),
    "binhost index": ([INDEX], in_file("Packages", index)),
    "event": ([EVENT], as_text(event)),
    "installed files": ([CONTENTS], in_file("CONTENTS", _contents)),
    "listing of a tarball": ([TAR_LISTING], in_file("x.gz", packed_listing)),
    "passwd": ([PASSWD], in_file("passwd", lambda path: Table.read(str(path), 0o644, 7).numbers())),
    "shell settings": ([SHELL], as_text(lambda text: with_assignments(text, {"A": "2"}))),
    "console": ([CONSOLE], console),
    "kernel configuration": ([KCONFIG], as_text(parse_options)),
}

WORDS = [
    *(b"-1", b"9" * 5000, b"1e999", b"0x7fffffffffffffff", b"\xff", b"\0", b"\xc3\xa9", "\u0663\u00b2".encode()),
    *(b"{", b"}", b"[", b"]", b'"', b"'", b"\\", b"\n", b"\r", b"\t", b":", b"=", b",", b".", b"#", b"$", b"${", b"("),
    *(b"../", b"/", b"-0000070", b"\x1b[", b"\x1b]0;", b"%s", b"null", b"true", b"x" * 300, b"a.", b"{v}", b"$A", b"<"),
]
"""Texts that readers fail on. Long repetitions find work that grows with the square of the input."""


LONG = WORDS if EXAMPLES >= 1000 else WORDS[::8]
"""Words that are repeated over 60,000 bytes; ``make fuzz`` tries all."""


def changed(data: bytes, edits: list[tuple[float, int, bytes, int]]) -> bytes:
    """Return data with some edits: the place, how many bytes are removed, what is put there, and how often."""
    for place, removed, word, times in edits:
        at = int(place * len(data))
        data = data[:at] + (word * times)[:60_000] + data[at + removed :]
    return data


EDITS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from([0, 0, 1, 4, 40, 400]),
        st.sampled_from(WORDS) | st.binary(max_size=6),
        st.sampled_from([1, 1, 1, 2, 3000]),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None, derandomize=EXAMPLES < 1000)
@given(edits=EDITS, choice=st.integers(0, 9))
def test_a_reader_survives(name: str, edits: list[tuple[float, int, bytes, int]], choice: int) -> None:
    corpus, read = READERS[name]
    data = changed(corpus[choice % len(corpus)], edits)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "index/x").mkdir(parents=True)
        with limited(SECONDS), contextlib.suppress(StagewrightError):
            read(data, Path(folder))


@pytest.mark.parametrize("name", READERS)
def test_a_reader_accepts_its_own_format(name: str, tmp_path: Path) -> None:
    """Otherwise the changed inputs would test the first check alone."""
    (tmp_path / "index/x").mkdir(parents=True)
    corpus, read = READERS[name]
    for data in corpus:
        if name == "oci":  # its layers are not there
            with pytest.raises(StagewrightError, match="another size"):
                read(data, tmp_path)
        else:
            read(data, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("word", LONG, ids=map(str, range(len(LONG))))
@pytest.mark.parametrize("name", READERS)
def test_a_long_repetition_is_read_in_time(name: str, word: bytes, tmp_path: Path) -> None:
    (tmp_path / "index/x").mkdir(parents=True)
    corpus, read = READERS[name]
    half = len(corpus[0]) // 2
    data = corpus[0][:half] + (word * 60_000)[:60_000] + corpus[0][half:]
    with limited(SECONDS), contextlib.suppress(StagewrightError):
        read(data, tmp_path)
