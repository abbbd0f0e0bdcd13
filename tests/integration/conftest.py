"""Fixtures of the integration tests in several folders."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from integration.sites import Box, Line, box_of, line_of
from integration.support import Warm


@pytest.fixture(scope="session")
def line(seed: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """The stages of examples/stages, built from the seed to a stage4 on a stage4."""
    with line_of(seed, tmp_path_factory.mktemp("line")) as made:
        yield made


@pytest.fixture(scope="session")
def box(seed: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A disk image with systemd and an SSH server."""
    with box_of(seed, tmp_path_factory.mktemp("box")) as made:
        yield made
