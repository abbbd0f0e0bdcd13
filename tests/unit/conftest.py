"""Fixtures of the unit tests."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from drafts import Draft
from remote_results import here, there
from servers import s3_server, ssh_server, webdav_server

__all__ = ["here", "s3_server", "ssh_server", "there", "webdav_server"]


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    """A project folder with nothing in it."""
    folder = tmp_path / "project"
    folder.mkdir()
    return Draft(folder)


PACKED_SEED = """
format = 1
[project]
name = "small"
version = "1"
source_date_epoch = 2026-11-20
[seeds.base]
file = "seed.tar"
[stages.pack]
kind = "tarball"
root = "base"
"""


@pytest.fixture
def packed_seed(tmp_path: Path) -> Path:
    """The smallest project that builds a file: a seed with one folder, and a tarball of it."""
    folder = tmp_path / "project"
    (folder / "etc").mkdir(parents=True)
    with tarfile.open(folder / "seed.tar", "w") as seed:
        seed.add(folder / "etc", "etc")
    (folder / "stagewright.toml").write_text(PACKED_SEED, encoding="utf-8")
    return folder
