"""The build backend (PEP 517): setuptools, with the man pages and the completion scripts of the commands.

They are made from the help of the commands, in ``share/``, so this needs what the commands import. A source package has
them already: a wheel that is built from it needs nothing but setuptools.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools._distutils import filelist

ROOT = Path(__file__).parents[1]
SHARE = ROOT / "share"

get_requires_for_build_editable = build_meta.get_requires_for_build_editable
prepare_metadata_for_build_wheel = build_meta.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = build_meta.prepare_metadata_for_build_editable
build_editable = build_meta.build_editable


def get_requires_for_build_sdist(config_settings: Any = None) -> list[str]:
    """Return what a source package needs to be built."""
    return [*build_meta.get_requires_for_build_sdist(config_settings), *_dependencies()]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Return what a wheel needs to be built."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_dependencies()]


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    """Build a source package and return its name."""
    _write_share()
    filelist._UniqueDirs = _EveryFolder
    return str(build_meta.build_sdist(sdist_directory, config_settings))


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build a wheel and return its name."""
    _write_share()
    return str(build_meta.build_wheel(wheel_directory, config_settings, metadata_directory))


class _EveryFolder:
    """Folders of a source package, also those that have two names.

    The templates are links to examples. Setuptools takes a folder only under the first name that it meets, which
    depends on the order of the file system: the other name was then missing in the package.
    """

    @staticmethod
    def filter(found: Iterable[Any]) -> Iterable[Any]:
        """Return all folders."""
        return found


def _is_source_package() -> bool:
    return (ROOT / "PKG-INFO").is_file() and SHARE.is_dir()


def _dependencies() -> list[str]:
    if _is_source_package():
        return []
    with (ROOT / "pyproject.toml").open("rb") as stream:
        found: list[str] = tomllib.load(stream)["project"]["dependencies"]
    return found


def _write_share() -> None:
    """Write the pages and scripts, in a process with the packages of an isolated build."""
    if not _is_source_package():
        # pip drops folders from PYTHONPATH that an editable installation in the same interpreter has.
        program = (
            "import runpy, sys; sys.path[:0] = sys.argv[2:]; runpy.run_module('tools.manual', run_name='__main__')"
        )
        words = [sys.executable, "-c", program, str(ROOT), str(ROOT), str(ROOT / "src")]
        subprocess.run(words, cwd=ROOT, check=True, stdout=sys.stderr)
