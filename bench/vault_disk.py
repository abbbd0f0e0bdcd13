"""A disk image with an encrypted root, for benches and tests. No example has it: it needs a file with a passphrase.

systemd-repart of the root ``trixie`` makes it.
"""

from __future__ import annotations

from pathlib import Path

STAGE = "vault"
"""The name of its stage."""

PASSPHRASE = "correct horse"

_STAGE = """
[stages.{stage}]
kind = "diskimage-stage2"
layout = "./{stage}"
repart = "trixie"
key_file = "{key}"
size = "auto"
{settings}
"""

_LAYOUT = {
    "10-esp.conf": "Type=esp\nFormat=vfat\nSizeMinBytes=128M\nSizeMaxBytes=128M\n",
    "20-root.conf": "Type=root\nFormat=ext4\nCopyFiles=/:/\nEncrypt=key-file\nGrowFileSystem=yes\n",
}


def add_vault(project: Path, settings: str) -> None:
    """Add the stage to a project, and a file with the passphrase next to it. ``settings`` are lines of its table."""
    key = project.parent / "key"
    key.write_text(PASSPHRASE, encoding="utf-8")
    with (project / "stagewright.toml").open("a", encoding="utf-8") as file:
        file.write(_STAGE.format(stage=STAGE, key=key, settings=settings))
    (project / STAGE).mkdir()
    for name, text in _LAYOUT.items():
        (project / STAGE / name).write_text(f"[Partition]\n{text}", encoding="utf-8")
