"""Read files into a checked release with its graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stagewright.catalyst.release import Release, read_release
from stagewright.catalyst.release_graph import ReleaseGraph, make_graph
from stagewright.catalyst.spec_check import check_member


def load(specs: Sequence[Path], conf: Sequence[Path], given: Mapping[str, str]) -> tuple[Release, ReleaseGraph]:
    """Read specs and folders of specs with Catalyst's and catalyst-auto's files and the values of ``--set``.

    ``problems`` of the release has all errors. The graph contains every spec that has an identity, also invalid ones.
    """
    release = read_release(specs, conf, given)
    for member in release.members:
        check_member(member, release)
    return release, make_graph(release)
