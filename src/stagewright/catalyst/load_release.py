"""From files to a release that is checked, with its graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stagewright.catalyst.release import Release, read_release
from stagewright.catalyst.release_graph import ReleaseGraph, make_graph
from stagewright.catalyst.spec_check import check_member


def load(specs: Sequence[Path], conf: Sequence[Path], given: Mapping[str, str]) -> tuple[Release, ReleaseGraph]:
    """Read specs and folders of them, with the files of Catalyst and catalyst-auto and the values of ``--set``.

    Everything that is wrong is in ``problems`` of the release; the graph holds what has an identity nevertheless.
    """
    release = read_release(specs, conf, given)
    for member in release.members:
        check_member(member, release)
    return release, make_graph(release)
