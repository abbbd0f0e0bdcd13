"""rebuilds: build the packages of a stage again inside it, and check that the compiler works afterwards.

Input: a stage with Portage and a compiler. The test builds installed packages from source, in the same versions and
with the same USE flags, in a layer that is not kept. The result is a report: the time for each package, and the files
that differ.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from stagewright.chroot import inside
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import NodeFiles
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.facts import Facts
from stagewright.kinds.common.guest import SystemTest
from stagewright.kinds.common.packages import PackageStage
from stagewright.kinds.common.work import Built, Work
from stagewright.portage.emerge import Portage
from stagewright.portage.installed import installed_packages, recorded_files
from stagewright.portage.settings import PortageSettings
from stagewright.project.fields import AnyAtom, StageRef
from stagewright.project.model import Project
from stagewright.project.source import KeyPath
from stagewright.root import files
from stagewright.root.requirements import MissingRequirement, raise_if_missing
from stagewright.root.root import Root

REPORT = "rebuild.json"

FROM_SOURCE = ("--oneshot", "--usepkg=n", "--getbinpkg=n", "--buildpkg=n", "--jobs=1")
"""One package at a time, so that each is built by the previous ones, and its time is measured separately."""

_EMERGE_LOG = "/var/log/emerge.log"
_STEP = re.compile(
    r"^(?P<time>\d+):  (?P<what>>>> emerge|::: completed emerge) \(\d+ of \d+\) (?P<package>\S+)", re.MULTILINE
)


@dataclass(frozen=True)
class Rebuilt:
    """One package that was built again: its time in seconds, and its paths that differ, are new, or are missing."""

    name: str  # category/name-version
    seconds: int | None
    differ: list[str]
    added: list[str]
    removed: list[str]

    @property
    def equal(self) -> bool:
        """True if it installed the same files."""
        return not (self.differ or self.added or self.removed)


class RebuildContext(PackageContext):
    """Context of a stage that builds its own packages again."""

    portage: PackageStage
    """The root and the settings of its Portage."""


class RebuildFacts(Facts):
    """Facts of packages that were built again."""

    packages: int
    equal: int
    """Number of packages with the same files."""
    seconds: float


class RebuildTest(SystemTest, kind="rebuilds", table="tests"):
    """A test with ``rebuilds``."""

    required_tools = PackageStage.required_tools
    demand = PackageStage.demand
    context_model = RebuildContext
    facts_model = RebuildFacts

    rebuilds: StageRef
    """The stage whose packages are built again."""
    packages: list[AnyAtom] = []
    """The packages: atoms and @sets; default: those of the profile's `packages.build`."""

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check that the stage installs packages."""
        entry = project.entry(self.rebuilds)
        if entry and not isinstance(entry.model, PackageStage):
            message = f"rebuilds: {self.rebuilds!r} does not install packages (kind {entry.kind})"
            yield (
                ("rebuilds",),
                StagewrightError(Reason.INVALID_VALUE, message, hint="name the stage that it is made of"),
            )

    def _portage(self, project: Project) -> PackageStage:
        """Return the Portage of the stage, without the cache of binary packages."""
        entry = project.entry(self.rebuilds)
        assert entry and isinstance(entry.model, PackageStage), "the project was checked"
        settings = {name: getattr(entry.model, name) for name in PortageSettings.model_fields}
        return PackageStage(root=self.rebuilds, **{**settings, "binpkgs": False})

    def node_context(self, node_id: str, scope: Scope) -> RebuildContext:
        """Return the repositories and settings of the stage's Portage."""
        portage = self._portage(scope.project)
        return RebuildContext(**{**dict(portage.node_context(node_id, scope)), "portage": portage})

    def node_inputs(self, scope: Scope) -> dict[str, str]:
        """Return the node of the stage, as the root of its Portage."""
        return self._portage(scope.project).node_inputs(scope)

    def node_files(self, scope: Scope) -> NodeFiles:
        """Return the repositories and confdirs of the stage."""
        return self._portage(scope.project).node_files(scope)

    def build(self, work: Work[RebuildContext]) -> Built:
        """Build the packages again, try the compiler, and write the report."""
        root, portage = work.context.portage.mount_with_portage(work)
        names = self._names(portage)
        _keep_flags(portage.folders.config, root, names)
        before = inside(root.path, recorded_files, Path("/"), names)
        logged = len(files.read_file(root.path, _EMERGE_LOG) or "")
        started = time.monotonic()
        portage.install([f"={name}" for name in names], options=FROM_SOURCE)
        seconds = time.monotonic() - started
        work.phase("try the compiler")
        compiler = _try(portage)
        after = inside(root.path, recorded_files, Path("/"), names)
        taken = _seconds((files.read_file(root.path, _EMERGE_LOG) or "")[logged:])
        rebuilt = [_rebuilt(name, taken.get(name), before[name], after[name]) for name in names]
        return self._report(work, rebuilt, seconds, compiler)

    def shell_root(self, work: Work[RebuildContext]) -> Root:
        """Return the root as the build sees it."""
        return work.context.portage.shell_root(work)

    def _names(self, portage: Portage) -> list[str]:
        """Return the installed packages to build again. Raises: ENVIRONMENT_LACKS with all that are not installed."""
        wanted = self.packages or portage.stage1_packages().packages
        if not wanted:
            raise StagewrightError(
                Reason.DEPENDENCIES,
                f"{self.rebuilds}: its profile has no packages.build, which lists the toolchain",
                hint="list `packages` in the test",
            )
        found = portage.installed_atoms(wanted)
        lacking = [atom for atom, names in found.items() if not names]
        if self.packages or len(lacking) == len(found):
            raise_if_missing(MissingRequirement(f"{self.rebuilds}: {atom} is not installed") for atom in lacking)
        return sorted({name for names in found.values() for name in names})

    def _report(self, work: Work[RebuildContext], rebuilt: Sequence[Rebuilt], seconds: float, compiler: str) -> Built:
        other = [one.name for one in rebuilt if not one.equal]
        same = len(rebuilt) - len(other)
        changed = f"; other files in {', '.join(other)}" if other else ""
        work.notice(f"{len(rebuilt)} packages built again, {same} with the same files{changed}")
        report = {
            "stage": self.rebuilds,
            "seconds": round(seconds, 2),
            "compiler": compiler,
            "packages": [{**asdict(one), "equal": one.equal} for one in rebuilt],
        }
        tree = work.new_folder("tree")
        (tree / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        return Built(tree, RebuildFacts(packages=len(rebuilt), equal=same, seconds=round(seconds, 2)))


def _keep_flags(config: Path, root: Root, names: Sequence[str]) -> None:
    """Set the installed USE flags of each package, wherever the stage sets them."""
    flags = {package.name: package.use for package in inside(root.path, installed_packages, Path("/"))}
    lines = [f"={name} -* {' '.join(flags[name])}\n" for name in names]
    place = config / "package.use"
    if place.is_symlink():  # of a confdir; it could lead anywhere
        place.unlink()
    if not place.is_file():
        place.mkdir(exist_ok=True)
        place = place / "zz-rebuild"
    with place.open("a", encoding="utf-8") as stream:
        stream.writelines(lines)


def _try(portage: Portage) -> str:
    try:
        return portage.try_compiler()
    except StagewrightError as error:
        raise StagewrightError(
            Reason.BUILD_FAILED, "the compiler does not work after the rebuild", detail=error.detail
        ) from error


def _seconds(log: str) -> dict[str, int]:
    """Return the time for each package from the log of emerge."""
    begun: dict[str, int] = {}
    taken: dict[str, int] = {}
    for step in _STEP.finditer(log):
        if step["what"].startswith(">>>"):
            begun[step["package"]] = int(step["time"])
        elif step["package"] in begun:
            taken[step["package"]] = int(step["time"]) - begun[step["package"]]
    return taken


def _rebuilt(name: str, seconds: int | None, before: Mapping[str, str], after: Mapping[str, str]) -> Rebuilt:
    return Rebuilt(
        name,
        seconds,
        differ=sorted(path for path in before.keys() & after.keys() if before[path] != after[path]),
        added=sorted(after.keys() - before.keys()),
        removed=sorted(before.keys() - after.keys()),
    )
