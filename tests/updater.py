"""The parts that tests of stagewright-update share: a disk with two slots, signed feeds, and runs of the program."""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import os
import random
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from fakes import Fakes
from integration.signing import Signer

FILES = Path(__file__).parents[1] / "examples/demo/repo/sys-apps/stagewright-update/files"
PROGRAM = FILES / "stagewright-update"
MIB = 1 << 20
ROLES = {
    "root": "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
    "root-verity": "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5",
    "esp": "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
}
SIZES = {"root": 2 * MIB, "root-verity": MIB}
"""Bytes of the partitions of a slot."""


@dataclass(frozen=True)
class Version:
    """A version of the system: what its partitions and its kernel image hold."""

    number: str

    def content(self, role: str) -> bytes:
        """Return the content for ``root``, ``root-verity`` or ``efi``."""
        size = {"root": MIB + 4096, "root-verity": 65536, "efi": 50000}[role]
        return random.Random(f"{self.number} {role}").randbytes(size)

    def uuid(self, role: str) -> str:
        """Return the UUID of a partition."""
        digest = hashlib.sha256(f"{self.number} {role}".encode()).hexdigest()
        return "-".join([digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]])

    def write_feed(self, folder: Path, compression: str = ".xz") -> None:
        """Write the files of this version to a feed."""
        pack = {".xz": lambda data: lzma.compress(data, preset=0), ".gz": gzip.compress, "": bytes}[compression]
        folder.mkdir(parents=True, exist_ok=True)
        for role in SIZES:
            name = f"fleet_{self.number}_{self.uuid(role)}.{role}{compression}"
            (folder / name).write_bytes(pack(self.content(role)))
        (folder / f"fleet_{self.number}.efi").write_bytes(self.content("efi"))


def sign(folder: Path, signer: Signer) -> None:
    """Write SHA256SUMS of a feed and its signature."""
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("SHA256SUMS"))
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    (folder / "SHA256SUMS.gpg").write_bytes(signer.gpg("--detach-sign", stdin="".join(lines).encode()))


@dataclass(frozen=True)
class Partition:
    """A partition of the disk: number, role, place in bytes, UUID and label."""

    number: int
    role: str
    start: int
    size: int
    uuid: str
    label: str


@dataclass
class Disk:
    """An image of a disk with an EFI system partition and two slots."""

    path: Path

    @classmethod
    def make(cls, path: Path, *versions: Version, esp: int = 2 * MIB, slots: int = 2) -> Disk:
        """Make a disk with versions in its first slots."""
        lines = ["label: gpt", f"size={esp // 512}, type={ROLES['esp']}, name=esp"]
        for version in (*versions, *[None] * (slots - len(versions))):
            for role, size in SIZES.items():
                name = f"fleet_{version.number}" if version else "_empty"
                uuid = f", uuid={version.uuid(role)}" if version else ""
                lines.append(f"size={size // 512}, type={ROLES[role]}, name={name}{uuid}")
        lines.append("size=2048, type=linux, name=var")
        with path.open("wb") as file:
            file.truncate(esp + slots * sum(SIZES.values()) + 4 * MIB)
        subprocess.run(["sfdisk", "--quiet", path], input="\n".join(lines).encode(), check=True, capture_output=True)
        disk = cls(path)
        subprocess.run(["mformat", "-i", disk.esp, "-T", str(esp // 512), "::"], check=True)
        subprocess.run(["mmd", "-i", disk.esp, "::EFI", "::EFI/Linux"], check=True)
        for version in versions:
            for part in disk.parts(f"fleet_{version.number}"):
                disk.write(part.start, version.content(part.role))
            disk.put(f"fleet_{version.number}.efi", version.content("efi"))
        return disk

    @property
    def esp(self) -> str:
        """The EFI system partition, for mtools."""
        return f"{self.path}@@{MIB}"

    def write(self, start: int, data: bytes) -> None:
        """Write at an offset."""
        with self.path.open("r+b") as file:
            file.seek(start)
            file.write(data)

    def read(self, start: int, size: int) -> bytes:
        """Read at an offset."""
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(size)

    def put(self, name: str, data: bytes) -> None:
        """Write a boot entry."""
        words = ["mcopy", "-o", "-i", self.esp, "-", f"::EFI/Linux/{name}"]
        subprocess.run(words, input=data, check=True)

    def parts(self, label: str = "") -> list[Partition]:
        """Return the partitions of the slots, or those with a label."""
        said = subprocess.run(["sfdisk", "--json", self.path], check=True, capture_output=True).stdout
        roles = {guid: role for role, guid in ROLES.items()}
        found = [
            Partition(
                int(re.findall(r"\d+$", part["node"])[0]),
                roles.get(part["type"].lower(), ""),
                part["start"] * 512,
                part["size"] * 512,
                part["uuid"].lower(),
                part.get("name", ""),
            )
            for part in json.loads(said)["partitiontable"]["partitions"]
        ]
        return [part for part in found if part.role in SIZES and label in ("", part.label)]

    def entries(self) -> list[str]:
        """Return the names in EFI/Linux."""
        said = subprocess.run(
            ["mdir", "-b", "-i", self.esp, "::EFI/Linux"], capture_output=True, text=True, check=False
        )
        return sorted(line.rpartition("/")[2] for line in said.stdout.split())

    def entry(self, name: str) -> bytes:
        """Return the content of a boot entry."""
        return subprocess.run(["mtype", "-i", self.esp, f"::EFI/Linux/{name}"], capture_output=True, check=True).stdout

    def has(self, version: Version, entry: str = "") -> bool:
        """Return True if a version is there, whole and with its entry."""
        name = entry or f"fleet_{version.number}.efi"
        parts = self.parts(f"fleet_{version.number}")
        wanted = [(role, version.uuid(role), version.content(role)) for role in SIZES]
        found = [(part.role, part.uuid, self.read(part.start, len(version.content(part.role)))) for part in parts]
        return wanted == found and name in self.entries() and self.entry(name) == version.content("efi")


@dataclass
class Updater:
    """A folder with a disk, settings and a keyring."""

    folder: Path
    disk: Disk
    keyring: Path
    running: str = "1.0"
    shell: str = "dash"
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fakes = Fakes(self.folder / "fakes")

    def settings(self, url: str, **values: str) -> Path:
        """Write the settings."""
        lines = {"name": "fleet", "url": url, "slot": "root", "keyring": str(self.keyring), **values}
        path = self.folder / "update.conf"
        path.write_text("".join(f"{key} = {value}\n" for key, value in lines.items()), encoding="utf-8")
        return path

    def __call__(self, *words: str, image: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the program. The fakes always have a ``reboot`` that does nothing."""
        self.fakes.put("reboot", f'echo "reboot $*" >> {self.folder}/reboots')
        place = ["--disk", str(self.disk.path), "--running", self.running] if image else []
        own = {
            "PATH": self.fakes.path,
            "STAGEWRIGHT_UPDATE_UNSHARED": "yes",
            "STAGEWRIGHT_UPDATE_RUN": str(self.folder),
            "STAGEWRIGHT_UPDATE_EFIVARS": str(self.folder / "efivars"),
            "STAGEWRIGHT_UPDATE_CHECKS": str(self.folder / "checks.d"),
            "STAGEWRIGHT_UPDATE_UPTIME": str(self.folder / "uptime"),
        }
        return subprocess.run(
            [*self.shell.split(), str(PROGRAM), "--config", str(self.folder / "update.conf"), *place, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=os.environ | own | self.environment,
            start_new_session=True,
        )

    def update(self, site: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """Update from a folder."""
        self.settings(f"file://{site}")
        return self(*words, "update")


@dataclass
class Machine:
    """A machine of files whose root is on dm-verity: /sys, mounts, and a file for each device."""

    folder: Path
    updater: Updater

    @property
    def devices(self) -> Path:
        """Folder with the disk and its partitions."""
        return self.folder / "dev"

    def make(self) -> Machine:
        """Make it from the disk of the updater."""
        block = self.folder / "sys/devices/virtual/block"
        for number, name in enumerate(("vda", "vda1", "vda2", "vda3", "vda4", "vda5", "dm-0")):
            place = block / "vda" / name if name.startswith("vda") and name != "vda" else block / name
            (place / "holders").mkdir(parents=True)
            (place / "dev").write_text(f"254:{number}\n", encoding="utf-8")
            for link in (self.folder / f"sys/dev/block/254:{number}", self.folder / f"sys/class/block/{name}"):
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(place)
            if "vda" in place.parts[:-1]:
                (place / "partition").write_text(f"{number}\n", encoding="utf-8")
        (block / "vda/queue").mkdir()
        (block / "vda/queue/logical_block_size").write_text("512\n", encoding="utf-8")
        (block / "dm-0/slaves").mkdir()
        for name in ("vda2", "vda3"):
            (block / "dm-0/slaves" / name).symlink_to(block / "vda" / name)
        mounts = "30 1 254:6 / / ro - erofs /dev/mapper/root ro\n31 30 0:5 / /proc rw - proc proc rw\n"
        (self.folder / "mounts").write_text(mounts, encoding="utf-8")
        self.devices.mkdir()
        disk = self.updater.disk
        shutil.copyfile(disk.path, self.devices / "vda")
        starts = [(1, MIB, 2 * MIB), *((part.number, part.start, part.size) for part in disk.parts())]
        for number, start, size in starts:
            (self.devices / f"vda{number}").write_bytes(disk.read(start, size))
        for name in ("SYSFS", "DEV", "MOUNTS"):
            place = self.folder / {"SYSFS": "sys", "DEV": "dev", "MOUNTS": "mounts"}[name]
            self.updater.environment[f"STAGEWRIGHT_UPDATE_{name}"] = str(place)
        return self
