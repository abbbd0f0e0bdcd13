"""The parts that tests of the installer share: a small system as a source, answers, and runs of the program."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from fakes import Fakes

FILES = Path(__file__).parents[1] / "examples/demo/repo/sys-apps/stagewright-install/files"
PROGRAM = FILES / "stagewright-install"
SHELLS = ("dash", "busybox ash")
KERNEL = b"the kernel" * 1000
LOADER = b"the boot loader" * 1000


def make_tree(folder: Path) -> Path:
    """Make a root with everything that an installed system starts with."""
    for name, content in {
        "usr/lib/modules/6.1-test/vmlinuz": KERNEL,
        "usr/lib/modules/6.1-test/initramfs.img": b"the initramfs" * 1000,
        "usr/lib/systemd/boot/efi/systemd-bootx64.efi": LOADER,
        "etc/os-release": b'ID=demo\nPRETTY_NAME="Demo 1"\n',
        "etc/passwd": b"root:x:0:0::/root:/bin/sh\n",
        "etc/group": b"root:x:0:\nwheel:x:10:\naudio:x:18:root\n",
        "etc/shadow": b"root::19000::::::\n",
        "etc/machine-id": b"0123456789abcdef0123456789abcdef\n",
        "etc/ssh/ssh_host_rsa_key": b"of the live system",
        "etc/skel/.profile": b"# a profile\n",
        "root/.keep": b"",
        "usr/bin/program": b"#!/bin/sh\n",
        "usr/share/zoneinfo/Europe/Berlin": b"TZif",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "etc/shadow").chmod(0o600)
    os.link(folder / "usr/bin/program", folder / "usr/bin/same-program")
    (folder / "usr/bin/link").symlink_to("program")
    return folder


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_of(*words: str | Path) -> str:
    return subprocess.run(words, check=False, capture_output=True, text=True).stdout


@dataclass
class Installer:
    """A folder with a source and an image to install on."""

    folder: Path
    source: Path
    shell: str = "dash"
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fakes = Fakes(self.folder / "fakes")

    @property
    def image(self) -> Path:
        return self.folder / "disk.img"

    def layout(self, **parts: str) -> Path:
        """Make a small layout: an EFI system partition, and a partition for each type with its settings."""
        folder = self.folder / "layout"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        esp = "[Partition]\nType=esp\nLabel=esp\nFormat=vfat\nSizeMinBytes=40M\nSizeMaxBytes=40M\n"
        (folder / "10-esp.conf").write_text(esp, encoding="utf-8")
        for number, (kind, lines) in enumerate(parts.items(), 2):
            text = f"[Partition]\nType={kind}\nLabel={kind}\n{lines}"
            (folder / f"{number}0-{kind}.conf").write_text(text, encoding="utf-8")
        return folder

    def answers(self, **values: str | None) -> Path:
        """Write answers for a whole installation. In names, "_" stands for "-" and "__" for "."."""
        lines = {
            "layout": str(self.folder / "layout"),
            "source": str(self.source),
            "checksum": f"sha256:{sha256(self.source)}",
            "console": "ttyS0,115200",
        } | {key.replace("__", ".").replace("_", "-"): value for key, value in values.items()}
        path = self.folder / "answers"
        path.write_text(
            "".join(f"{key} = {value}\n" for key, value in lines.items() if value is not None), encoding="utf-8"
        )
        return path

    def __call__(self, *words: str, typed: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["unshare", "-m", *self.shell.split(), str(PROGRAM), *words],
            input=typed,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            env=os.environ
            | {"STAGEWRIGHT_INSTALL_UNSHARED": "yes"}
            | {"PATH": self.fakes.path}
            | self.environment
            | settings,
        )

    def install(self, *words: str, size: str = "128M", **answers: str | None) -> subprocess.CompletedProcess[str]:
        return self("--image", str(self.image), "--size", size, "--answers", str(self.answers(**answers)), *words)

    def kill_at(self, name: str, *, when: str = "*", after: bool = True, signal: str = "KILL") -> None:
        """End the installation when it calls this program with words that match, after or before its work."""
        self.fakes.clear()
        work = '"$real" "$@"'
        if name:
            kill = f"{work}; kill -{signal} $PPID" if after else f"kill -{signal} $PPID"
            self.fakes.put(name, f'case "$*" in {when}) {kill} ;; *) {work} ;; esac')

    def pull_the_plug(self) -> None:
        """Remove the loop devices of a killed installation, as a loss of power does. Its mounts ended with it."""
        for line in text_of("losetup", "-j", self.image).splitlines():
            subprocess.run(["losetup", "--detach", line.partition(":")[0]], check=True)
