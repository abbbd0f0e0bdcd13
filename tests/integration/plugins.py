"""Packages with kinds, as an installer leaves them: modules, and the metadata with the entry points."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

OCI = Path(__file__).parents[1] / "plugins" / "stagewright_oci"
"""The package of the tutorial (docs/adding-a-kind.md)."""


def install(source: Path, site: Path) -> Path:
    """Install a package from its source folder into a folder for ``PYTHONPATH``. Return that folder."""
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    package = project["name"].replace("-", "_")
    shutil.copytree(source / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    entries = project["entry-points"]["stagewright.kinds"]
    return describe(site, project["name"], project["version"], entries)


def describe(site: Path, name: str, version: str, entries: dict[str, str]) -> Path:
    """Write the metadata of a package into a folder for ``PYTHONPATH``. Return that folder."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    lines = ["[stagewright.kinds]", *(f"{kind} = {value}" for kind, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return site
