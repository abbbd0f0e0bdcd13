"""What ``catalyst plan``, ``build`` and ``convert`` share: specs as a project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.catalyst.convert.release import STAMPS, Converted, convert
from stagewright.catalyst.graph import ReleaseGraph
from stagewright.catalyst.load import load
from stagewright.catalyst.release import Release
from stagewright.project.load import of_tables
from stagewright.project.model import Project
from stagewright.stages.registry import kinds


@dataclass
class Loaded:
    """Specs that were read, checked and converted; what is wrong with them is in ``release.problems``."""

    release: Release
    graph: ReleaseGraph
    converted: Converted

    def project(self, *, lenient: bool = False) -> Project:
        """The project that they are. Raises :class:`ProblemsError` with everything that is wrong, at the specs' lines.

        Where ``lenient``, seeds, snapshots and files that are not there do not stop it.
        """
        tables = self.converted.named()
        return of_tables(self.converted.head, tables, self.converted.files, kinds(), [], lenient=lenient)


def load_release(
    specs: Sequence[Path], conf: Sequence[Path], given: Mapping[str, str], repos: Mapping[str, Path]
) -> Loaded:
    """Read specs, check them, and convert them."""
    now = {name: value for name, value in given.items() if name not in STAMPS}
    release, graph = load(specs, conf, now)
    return Loaded(release, graph, convert(release, graph, given, repos))
