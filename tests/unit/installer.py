"""The parts that tests of the installer share: a small system as a source, answers, and runs of the program."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

FILES = Path(__file__).parents[2] / "examples/demo/repo/sys-apps/stagewright-install/files"
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
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass
class Installer:
    """A folder with a source and an image to install on."""

    folder: Path
    source: Path
    shell: str = "dash"
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def image(self) -> Path:
        return self.folder / "disk.img"

    def answers(self, **values: str) -> Path:
        """Write answers for a whole installation; values replace lines, None removes one. "_" is "-", "__" is "."."""
        lines = {
            "source": str(self.source),
            "checksum": f"sha256:{sha256(self.source)}",
            "console": "ttyS0,115200",
        } | {key.replace("__", ".").replace("_", "-"): value for key, value in values.items()}
        path = self.folder / "answers"
        path.write_text("".join(f"{key} = {value}\n" for key, value in lines.items() if value is not None), "utf-8")
        return path

    def __call__(self, *words: str, typed: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.shell.split(), str(PROGRAM), *words],
            input=typed,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=dict(os.environ) | self.environment | settings,
        )

    def install(self, *words: str, size: str = "1G", **answers: str) -> subprocess.CompletedProcess[str]:
        return self("--image", str(self.image), "--size", size, "--answers", str(self.answers(**answers)), *words)
