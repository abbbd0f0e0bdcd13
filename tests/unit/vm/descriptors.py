"""Firmware descriptors, and small files like those that they name."""

import json
from pathlib import Path
from typing import Any

CODE = bytes(16) + b"code's own GUID." + bytes(8) + b"_FVH"
VARIABLES = bytes(16) + bytes.fromhex("8d2bf1ff96768b4ca9852747075b4f50") + bytes(8) + b"_FVH"
KEYS = VARIABLES + "PK\0".encode("utf-16-le")


def image(path: Path, head: bytes, pages: int) -> Path:
    path.write_bytes(head.ljust(pages * 4096, b"\xff"))
    return path


def pair(folder: Path, name: str, *, keys: bool = False) -> tuple[Path, Path]:
    """Write code and variables that fit together."""
    code = image(folder / f"{name}.code.fd", CODE, 3)
    return code, image(folder / f"{name}.vars.fd", KEYS if keys else VARIABLES, 1)


def content(code: Path, variables: Path, *features: str, **changes: object) -> dict[str, Any]:
    return {
        "description": "test",
        "interface-types": ["uefi"],
        "mapping": {
            "device": "flash",
            "executable": {"filename": str(code), "format": "raw"},
            "nvram-template": {"filename": str(variables), "format": "raw"},
        },
        "targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}],
        "features": list(features),
        "tags": [],
        **changes,
    }


def describe(folder: Path, name: str, *features: str, missing: bool = False, **changes: object) -> Path:
    """Write a descriptor and, unless ``missing``, the files that it names."""
    code, variables = folder / f".{name}.code.fd", folder / f".{name}.vars.fd"
    if not missing:
        pair(folder, f".{name}", keys="enrolled-keys" in features)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content(code, variables, *features, **changes)), encoding="utf-8")
    return path
