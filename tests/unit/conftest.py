"""Fixtures of the unit tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from drafts import Draft


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    """A project folder with nothing in it."""
    folder = tmp_path / "project"
    folder.mkdir()
    return Draft(folder)
