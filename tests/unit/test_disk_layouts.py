"""Layouts of disks: what definitions say, which are errors and where, and the sizes of partitions."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from stagewright.arch import MACHINES, Arch, Machine, host_machine
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.media.disk.definitions import Definition, builtin_layouts, read_definitions, texts_of
from stagewright.media.disk.filesystem_types import MIB, FileSystem
from stagewright.media.disk.formats import Format
from stagewright.media.disk.layout_check import check_layout, check_machine
from stagewright.media.disk.partition_table import Sizes
from stagewright.media.disk.partition_types import guid_of, is_supported, known_types, role_of
from stagewright.media.disk.setting_values import Encryption, Mount, Verity
from stagewright.media.disk.verity_partition import hash_size, make_hash_partition

FOLDER = Path("layout")
REPOSITORY = Path(__file__).parents[2]
ESP = "[Partition]\nType=esp\nFormat=vfat\nSizeMinBytes=64M\nSizeMaxBytes=64M\n"
ROOT = "[Partition]\nType=root\nFormat=ext4\nCopyFiles=/\n"


def read(**texts: str) -> list[Definition]:
    return read_definitions({f"{name}.conf": text for name, text in texts.items()}, FOLDER)


def problems(texts: Mapping[str, str], *, repart: bool = False) -> list[tuple[str, int, str]]:
    """File, line and message of each error."""
    with pytest.raises(ProblemsError) as caught:
        check_layout(read_definitions(texts, FOLDER), repart=repart)
    assert all(one.hint for one in caught.value.problems)
    return [(one.place.file.name, one.place.line, one.message) for one in caught.value.problems if one.place]


@pytest.mark.parametrize("name", builtin_layouts())
def test_layouts_of_the_package_are_sound(name: str) -> None:
    check_layout(read_definitions(texts_of(name, None), FOLDER))


def test_the_documents_name_all_layouts_and_show_the_one_of_the_example() -> None:
    page = (REPOSITORY / "docs/disks.md").read_text(encoding="utf-8")
    rows = page.split("| layout |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", rows, re.MULTILINE)) == set(builtin_layouts())
    for name, text in texts_of("./layout", REPOSITORY / "examples/disks/layout").items():
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert f"    {name:<16}{lines[0]}\n" + "".join(f"{'':20}{line}\n" for line in lines[1:]) in page, name


def test_a_definition_has_the_values_of_its_settings() -> None:
    text = (
        "[Partition]\nType=home\nLabel=%M data\nFormat=btrfs\nCopyFiles=/home/:/\nWeight=5\n# a comment\n"
        "SizeMinBytes=1G\nEncrypt=key-file+tpm2\nMountPoint=/home:compress=zstd\nSubvolumes=/a /b\nSubvolumes=/c\n"
        "Minimize=guess\nGrowFileSystem=off\nReadOnly=yes\n"
    )
    (one,) = read(**{"20-data": text})
    assert (one.name, one.role, one.label, one.format) == ("data", "home", "%M data", FileSystem.BTRFS)
    assert (one.size_min, one.size_max, one.weight, one.encrypt) == (1 << 30, None, 5, Encryption.BOTH)
    assert (one.mount, one.subvolumes) == (Mount("/home", "compress=zstd"), ("/a", "/b", "/c"))
    assert (one.minimize, one.grows, one.read_only, one.verity) == (True, False, True, Verity.OFF)


def test_an_empty_value_removes_earlier_ones() -> None:
    (one,) = read(a="[Partition]\nType=root\nExcludeFiles=/a\nExcludeFiles=\nExcludeFiles=/b\n")
    assert one.exclude_files == ("/b",)


def test_all_errors_of_all_files_are_reported_with_their_lines() -> None:
    found = problems(
        {
            "10-esp.conf": "[Partition]\nType=efi\nFormat=fat\n",
            "20-root.conf": "Type=root\n[Partition]\nType=root\n\nSizeMinByte=1G\nCopyBlocks=auto\n[Other]\nx=1\n",
            "30-x.conf": "[Partition]\nWeight=many\nnonsense\nLabel=%v\nCopyFiles=rel:/\nUUID=1\nMinimize=maybe\n",
            "40-y.conf": "[Partition]\nLabel=a\n",
        }
    )
    assert [(file, line) for file, line, _ in found] == [
        *(("10-esp.conf", line) for line in (2, 3)),
        *(("20-root.conf", line) for line in (1, 5, 6, 7)),
        *(("30-x.conf", line) for line in range(2, 8)),
        ("40-y.conf", 1),
    ]


@pytest.mark.parametrize(
    ("texts", "file", "words"),
    [
        ({"10-esp": ESP}, "10-esp", "0 partitions have the files of the root"),
        ({"10-esp": ESP, "20-a": ROOT, "30-b": ROOT}, "30-b", "2 partitions have the files of the root"),
        ({"20-root": ROOT}, "20-root", "0 EFI system partitions"),
        ({"10-esp": ESP, "20-a": ROOT, "30-a": ROOT.replace("root", "home")}, "30-a", "also has the name 'a'"),
        ({"10-esp": ESP.replace("vfat", "ext4"), "20-root": ROOT}, "10-esp", "needs Format=vfat"),
        ({"10-esp": ESP, "20-root": ROOT + "SizeMinBytes=2M\nSizeMaxBytes=1M\n"}, "20-root", "is larger than"),
        ({"10-esp": ESP, "20-root": ROOT + "Subvolumes=/x\n"}, "20-root", "not supported"),
        ({"10-esp": ESP, "20-root": ROOT + "CopyFiles=/var\n"}, "20-root", "one folder only"),
        ({"10-esp": ESP, "20-root": ROOT + "Verity=data\nVerityMatchKey=x\n"}, "20-root", "no partition with"),
        ({"10-esp": ESP, "20-root": ROOT + "Verity=data\n"}, "20-root", "needs a VerityMatchKey"),
        (
            {"10-esp": ESP, "20-root": ROOT, "30-x": "[Partition]\nType=home\nCopyFiles=/home:/\n"},
            "30-x",
            "file system",
        ),
        ({"10-esp": ESP, "20-root": ROOT + "Encrypt=key-file\n"}, "20-root", "needs systemd-repart"),
        (
            {"10-esp": ESP, "20-root": ROOT, "30-x": ROOT.replace("root", "var") + "MountPoint=/\n"},
            "30-x",
            "same place",
        ),
    ],
)
def test_layouts_that_make_no_disk(texts: dict[str, str], file: str, words: str) -> None:
    found = problems({f"{name}.conf": text for name, text in texts.items()})
    assert any(name == f"{file}.conf" and words in message for name, _, message in found), found


@pytest.mark.parametrize(
    ("esp", "root", "file", "words"),
    [
        ("Encrypt=key-file\n", "", "10-esp", "firmware cannot read"),
        ("", "Encrypt=tpm2\n", "20-root", "needs the TPM of the machine"),
        ("", "Encrypt=key-file\nVerity=data\nVerityMatchKey=x\n", "20-root", "exclude each other"),
        ("", "Subvolumes=/x\n", "20-root", "is for btrfs"),
    ],
)
def test_layouts_that_systemd_repart_cannot_make(esp: str, root: str, file: str, words: str) -> None:
    found = problems({"10-esp.conf": ESP + esp, "20-root.conf": ROOT + root}, repart=True)
    assert any(name == f"{file}.conf" and words in message for name, _, message in found), found


def test_systemd_repart_makes_what_stagewright_cannot() -> None:
    root = ROOT.replace("ext4", "btrfs") + "Subvolumes=/x\nCopyFiles=/opt:/opt\nEncrypt=key-file\n"
    check_layout(read(**{"10-esp": ESP, "20-root": root}), repart=True)


def test_an_unknown_layout_is_reported_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(StagewrightError, match="layout 'ext' not found") as caught:
        texts_of("ext", None)
    assert (caught.value.reason, "'ext4'" in caught.value.hint) == (Reason.UNKNOWN_NAME, True)
    with pytest.raises(StagewrightError) as caught:
        texts_of("./layout", tmp_path)
    assert caught.value.reason is Reason.MISSING_FILE


def sizes(disk: int | None, contents: dict[str, int], **texts: str) -> dict[str, int]:
    """Sizes in MiB."""
    found = Sizes.of(read(**texts), {name: size * MIB for name, size in contents.items()}, disk and disk * MIB)
    return {name: size // MIB for name, size in found.found.items()}


def test_free_space_is_distributed_by_weight_up_to_the_largest_size() -> None:
    texts = {
        "a": ROOT + "Weight=3000\n",
        "b": ROOT + "Weight=1000\nSizeMaxBytes=20M\n",
        "c": ROOT + "Weight=0\n",
        "d": ROOT,
    }
    contents = {"a": 10, "b": 10, "c": 7, "d": 1}
    assert sizes(None, contents, **texts) == contents
    found = sizes(102, contents, **texts)
    assert (found["b"], found["c"], sum(found.values())) == (20, 7, 100)
    assert found["a"] > found["d"] > 1
    assert sum(sizes(1001, contents, **texts).values()) == 999, "the last MiB is not lost"


def test_content_that_does_not_fit_is_an_error_with_the_size_that_does() -> None:
    with pytest.raises(StagewrightError) as caught:
        sizes(50, {"root": 60}, root=ROOT)
    assert (caught.value.reason, '"62M"' in caught.value.hint) == (Reason.BUILD_FAILED, True)
    with pytest.raises(StagewrightError) as caught:
        sizes(None, {"root": 60}, root=ROOT + "SizeMaxBytes=50M\n")
    assert caught.value.place
    assert caught.value.place.file.name == "root.conf"


def test_types_of_roots_exist_for_all_architectures_of_the_specification() -> None:
    without = {machine.arch for machine in MACHINES if not is_supported(machine)}
    assert {Arch.M68K, Arch.SPARC} <= without
    for machine in filter(is_supported, MACHINES):
        assert role_of(guid_of("root", machine)) == "root"
        assert role_of(guid_of("usr-verity", machine)) == "usr-verity"
    assert guid_of("root", machine_named("x86_64")) == "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
    assert guid_of("root", machine_named("aarch64")) == "B921B045-1DF0-41C3-AF44-4C6F280D3FAE"


def machine_named(name: str) -> Machine:
    return next(machine for machine in MACHINES if machine.qemu == name)


@pytest.mark.skipif(not shutil.which("systemd-id128"), reason="NOT TESTED: needs systemd-id128")
def test_types_are_those_of_systemd() -> None:
    shown = subprocess.run(["systemd-id128", "show", "--uuid"], capture_output=True, text=True, check=False)
    if shown.returncode:
        pytest.skip("NOT TESTED: systemd-id128 of this version has no command show")
    theirs = dict(line.split()[:2] for line in shown.stdout.splitlines()[1:])
    ours = {name: guid for name, guid in known_types().items() if name in theirs}
    assert len(ours) > 90
    assert ours == {name: theirs[name] for name in ours}


def test_a_root_of_another_architecture_is_refused() -> None:
    other = "arm64" if host_machine().arch is Arch.AMD64 else "x86-64"
    with pytest.raises(StagewrightError, match="another architecture") as caught:
        check_machine(read(root=ROOT.replace("Type=root", f"Type=root-{other}")), host_machine())
    assert "Type=root" in caught.value.hint


@pytest.mark.parametrize("size", [4096 * 2, 3_000_001, 4096 * 128 + 1])
def test_a_hash_partition_has_the_size_that_was_computed_and_is_the_same_again(tmp_path: Path, size: int) -> None:
    data = tmp_path / "data"
    data.write_bytes(bytes(range(250)) * (size // 250) + bytes(size % 250))
    first, second = (make_hash_partition(data, tmp_path / name) for name in ("a", "b"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").stat().st_size == hash_size(size)
    assert (first.data_uuid + first.hash_uuid).replace("-", "") == first.root_hash == second.root_hash


@pytest.mark.skipif(
    not shutil.which("veritysetup", path="/usr/sbin:/sbin:/usr/bin"), reason="NOT TESTED: needs veritysetup"
)
def test_veritysetup_accepts_the_hash_partition_and_no_other_data(tmp_path: Path) -> None:
    data, hashes = tmp_path / "data", tmp_path / "hashes"
    data.write_bytes(b"some data" * 100_000 + bytes(-900_000 % 4096))
    pair = make_hash_partition(data, hashes)
    words = ["/usr/sbin/veritysetup", "verify", data, hashes, pair.root_hash]
    subprocess.run(words, check=True, capture_output=True)
    with data.open("r+b") as stream:
        stream.seek(500_000)
        stream.write(b"X")
    assert subprocess.run(words, capture_output=True, check=False).returncode


def test_the_example_has_a_stage_for_every_layout_and_format() -> None:
    project = tomllib.loads((REPOSITORY / "examples/disks/stagewright.toml").read_text(encoding="utf-8"))
    stages = project["stages"].values()
    assert {stage["layout"] for stage in stages if "layout" in stage} | {"ext4"} == {*builtin_layouts(), "./layout"}
    assert {stage["format"] for stage in stages if "format" in stage} | {"qcow2"} == set(Format)
    texts = texts_of("./layout", REPOSITORY / "examples/disks/layout")
    check_layout(read_definitions(texts, FOLDER))
