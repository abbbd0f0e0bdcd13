"""Disk images by systemd-repart: the definitions that it gets, identifiers, and what a root must have for it."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from drafts import Draft
from pydantic import ValidationError

from stagewright.arch import MACHINES, Arch
from stagewright.errors import ProblemsError, Reason
from stagewright.kinds.media.diskimage_stage2 import DiskImage2
from stagewright.kinds.registry import kinds
from stagewright.media.disk.definitions import read_definitions
from stagewright.media.disk.image import DiskSource
from stagewright.media.disk.luks import luks_uuid, read_uuid
from stagewright.media.disk.repart import definition_text
from stagewright.project.load import load

ESP = "[Partition]\nType=esp\nFormat=vfat\nSizeMinBytes=64M\nSizeMaxBytes=64M\n"
ROOT = "[Partition]\nType=root\nFormat=ext4\nCopyFiles=/\nMakeDirectories=/mnt/x\nEncrypt=key-file\n"
VAR = "[Partition]\nType=var\nLabel=%M 100%%\nFormat=ext4\nCopyFiles=/var:/\n"

HEAD = """format = 1
[project]
name = "p"
version = "1"
[seeds.seed]
file = "seed.tar"
[stages.boot]
kind = "livecd-stage2"
root = "seed"
[stages.disk]
kind = "diskimage-stage2"
root = "seed"
boot = "boot"
"""


def source(root: Path, work: Path, **texts: str) -> DiskSource:
    (machine,) = (one for one in MACHINES if one.arch == Arch.AMD64)
    definitions = read_definitions({f"{name}.conf": text for name, text in texts.items()}, Path("layout"))
    return DiskSource(
        name="disk.raw",
        machine=machine,
        definitions=definitions,
        root=root,
        devices=(),
        image_id="vault",
        image_version="1",
        work=work,
        epoch=0,
        cores=1,
        log=io.StringIO(),
    )


@pytest.fixture
def disk(tmp_path: Path) -> DiskSource:
    (tmp_path / "root/var").mkdir(parents=True)
    return source(tmp_path / "root", tmp_path, **{"10-esp": ESP, "20-root": ROOT, "30-var": VAR})


def lines(disk: DiskSource, number: int) -> list[str]:
    return definition_text(disk, disk.definitions[number], 1000).splitlines()


def test_the_system_partition_is_left_empty(disk: DiskSource) -> None:
    found = lines(disk, 0)
    assert {"Type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "SizeMinBytes=67108864", "GrowFileSystem=no"} <= set(found)
    assert not [line for line in found if line.startswith(("Format", "CopyFiles"))]


def test_folders_of_other_partitions_are_left_out_and_specifiers_escaped(disk: DiskSource) -> None:
    found = lines(disk, 1)
    assert {"CopyFiles=/:/", "ExcludeFiles=/var/", "MakeDirectories=/mnt/x", "Encrypt=key-file"} <= set(found)
    assert f"UUID={disk.uuid(disk.definitions[1])}" in found
    assert "Label=vault 100%%" in lines(disk, 2)


def test_an_encrypted_root_is_opened_by_the_initramfs_and_others_by_crypttab(tmp_path: Path) -> None:
    texts = {"10-esp": ESP, "20-root": ROOT, "30-var": VAR + "Encrypt=key-file\n"}
    disk = source(tmp_path, tmp_path, **texts)
    root, var = (disk.luks_uuid(one) for one in disk.definitions[1:])
    assert disk.root_arguments() == [f"rd.luks.uuid={root}", f"root=/dev/mapper/luks-{root}", "rw"]
    assert f"/dev/mapper/luks-{root}\t/\text4\tnoatime,x-systemd.growfs\t0 1" in disk.fstab()
    (line,) = (line for line in disk.crypttab().splitlines() if line[:1] != "#")
    assert line == f"luks-{var}\tPARTUUID={disk.uuid(disk.definitions[2])}\tnone\tluks"


def test_a_disk_without_encryption_has_no_crypttab(tmp_path: Path) -> None:
    plain = source(tmp_path, tmp_path, **{"10-esp": ESP, "20-root": ROOT.replace("Encrypt=key-file\n", "")})
    assert plain.crypttab() == ""


def test_the_uuid_of_a_header_is_read(tmp_path: Path) -> None:
    uuid = luks_uuid("7d0f9c39-93cf-4dc5-a9a2-9a0a5e40a5b2")
    image = tmp_path / "image"
    image.write_bytes(bytes(20 << 20))
    assert read_uuid(image, 0) is None
    words = ["cryptsetup", "luksFormat", "--batch-mode", "--uuid", uuid, "--pbkdf", "pbkdf2"]
    words += ["--pbkdf-force-iterations", "1000", "--key-file", "-", str(image)]
    try:
        subprocess.run(words, input=b"secret", check=True)
    except FileNotFoundError:
        pytest.skip("NOT TESTED: cryptsetup not installed")
    assert read_uuid(image, 0) == uuid


@pytest.mark.parametrize(
    ("settings", "layout", "place"),
    [
        ("", "Encrypt=key-file\n", "layout"),
        ('repart = "seed"', "Encrypt=key-file\n", "layout"),
        ('repart = "seed"\nkey_file = "/secret"', "", "key_file"),
        ('repart = "seed"\nkey_file = "/secret"', "Encrypt=tpm2\n", "layout"),
    ],
)
def test_errors_are_reported_at_their_places(draft: Draft, settings: str, layout: str, place: str) -> None:
    folder = draft.folder / "layout"
    folder.mkdir()
    (folder / "10-esp.conf").write_text(ESP, encoding="utf-8")
    root = f"[Partition]\nType=root\nFormat=ext4\nCopyFiles=/\n{layout}"
    (folder / "20-root.conf").write_text(root, encoding="utf-8")
    (draft.folder / "seed.tar").touch()
    text = f'{HEAD}layout = "./layout"\n{settings}\n'
    (draft.folder / "stagewright.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ProblemsError) as caught:
        load(draft.folder, kinds())
    (problem,) = caught.value.problems
    assert problem.reason in (Reason.INVALID_VALUE, Reason.MISSING_KEY)
    assert problem.hint
    assert problem.place
    assert problem.place.file.name == "20-root.conf" or place in text.splitlines()[problem.place.line - 1]


def test_a_key_file_is_for_systemd_repart() -> None:
    with pytest.raises(ValidationError):
        DiskImage2.model_validate({"root": "seed", "boot": "boot", "key_file": "/secret"})
    with pytest.raises(ValidationError):
        DiskImage2.model_validate({"root": "seed", "boot": "boot", "repart": "seed", "key_file": "secret"})


def test_a_missing_or_empty_key_file_is_reported_before_anything_is_built(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    model = DiskImage2.model_validate({"root": "seed", "boot": "boot", "repart": "seed", "key_file": str(file)})
    assert [error.reason for error in model.missing()] == [Reason.MISSING_FILE]
    file.touch()
    assert [error.reason for error in model.missing()] == [Reason.MISSING_FILE]
    file.write_text("secret", encoding="utf-8")
    assert list(model.missing()) == []
