"""Settings for cloud-init(1) in a guest: a small disc that its data source NoCloud reads.

The disc has the label CIDATA and the files ``user-data`` and ``meta-data`` (cloud-init's manual, NoCloud).
"""

from __future__ import annotations

import json
from pathlib import Path

from stagewright.run import run

LABEL = "CIDATA"


def write_disc(folder: Path, public_key: str) -> Path:
    """Write a disc with which root accepts a key, and return its path.

    ``disable_root`` replaces cloud-init's default, which has root's key print a notice only. A guest repeats the
    settings if its instance has another name, so the name is that of the key.
    """
    settings = {"disable_root": False, "ssh_authorized_keys": [public_key]}
    facts = {"instance-id": f"stagewright-{public_key.split()[1][-12:]}"}
    source, disc = folder / "cloud-init", folder / "cloud-init.iso"
    source.mkdir(parents=True, exist_ok=True)
    # JSON is YAML, too
    (source / "user-data").write_text(f"#cloud-config\n{json.dumps(settings)}\n", encoding="utf-8")
    (source / "meta-data").write_text(f"{json.dumps(facts)}\n", encoding="utf-8")
    disc.unlink(missing_ok=True)
    run(["xorriso", "-as", "mkisofs", "-quiet", "-V", LABEL, "-J", "-R", "-o", disc, source])
    return disc


def devices(disc: Path) -> tuple[str, ...]:
    """Return QEMU's arguments for a drive with the disc: one of virtio, since kernels of clouds know no CD drives."""
    file = str(disc).replace(",", ",,")
    drive = f"if=none,id=cloud-init,format=raw,readonly=on,file={file}"
    return ("-drive", drive, "-device", "virtio-blk-pci,drive=cloud-init,serial=cloud-init")
