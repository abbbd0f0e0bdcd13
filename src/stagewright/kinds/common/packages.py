"""Base classes of kinds that install packages: the root, Portage and its configuration, checks before a build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeVar

from pydantic import Field

from stagewright.errors import StagewrightError
from stagewright.graph.node import Demand, NodeFiles
from stagewright.kinds.common.atom_checks import Found, atom_check_of
from stagewright.kinds.common.base import Scope, Stage
from stagewright.kinds.common.binhost_keys import binhost_keys, missing_gentoo_keys
from stagewright.kinds.common.context import BinhostDescription, PackageContext, RepoDescription
from stagewright.kinds.common.tools import FETCH_NETWORK, SANDBOX, ZSTD
from stagewright.kinds.common.work import Work
from stagewright.portage.atom_check import AtomCheck
from stagewright.portage.confdir_check import make_conf_notes, shape_problems
from stagewright.portage.fetch_request import FetchRequest
from stagewright.portage.kernel_packages import kernel_notes
from stagewright.portage.repositories import Repository, check_profile, known_chain
from stagewright.portage.sets import atoms_of
from stagewright.portage.settings import PortageSettings
from stagewright.portage.unowned import UnownedPattern
from stagewright.portage.use_check import package_use_notes
from stagewright.portage.visibility import Visibility
from stagewright.project.fields import Atom, ByValue, FromRepos, RootRef, marked, package_of
from stagewright.project.lock import Pin
from stagewright.project.model import Project
from stagewright.project.source import KeyPath, setting_name
from stagewright.root.machine_state import MachineState

if TYPE_CHECKING:
    from stagewright.kinds.common.mounted_portage import StageNeeds
    from stagewright.portage.emerge import Portage
    from stagewright.project.binhost import Binhost
    from stagewright.root.root import Root
    from stagewright.root.sandbox import Bind

T = TypeVar("T")

TARGET = "/mnt/target"
"""Mount point of the new root of an :class:`OwnRootStage`, inside the root that builds."""


class PackageStage(PortageSettings, Stage):
    """Base of kinds that install packages in or from a root."""

    required_tools = (SANDBOX, FETCH_NETWORK, ZSTD)
    demand = Demand(memory=2048, compiles=True)
    context_model = PackageContext
    build_modules = ("stagewright.kinds.common.layer", "stagewright.kinds.common.mounted_portage")
    is_configured: ClassVar[bool] = True
    """False for stages like Gentoo's stage3: at its first start, systemd applies its presets."""
    keeps_changed_etc: ClassVar[bool] = False
    """True if Portage keeps files of /etc that earlier stages changed, and writes new versions as ``._cfg`` files."""

    root: RootRef
    """The stage or seed to start from."""
    packages: list[Atom] = []
    """Packages to install: atoms and @sets, as emerge(1) takes them."""
    strict: bool = Field(default=False, exclude_if=lambda value: not value)
    """Fail if a merge leaves files that no package owns. Otherwise they are reported."""
    unowned: list[UnownedPattern] = Field(default=[], exclude_if=lambda value: not value)
    """Files that need no owner, such as `/usr/share/x/**`: `*` does not match `/`, and `**` does."""
    online: list[Atom] = Field(default=[], exclude_if=lambda value: not value)
    """Live packages (-9999) that may fetch their source with git-r3.eclass. The lock pins the commits. Other live
    packages are refused: a build has no network."""
    keep_state: list[Annotated[MachineState, ByValue()]] = Field(default=[], exclude_if=lambda value: not value)
    """State of one machine that is not removed from the result: `machine-id`, `dbus-id`, `random-seed`, `backups` (of
    /etc/passwd), `logs` of packages, `ldconfig`, `resolv.conf` (an empty one), `portage-cache` (times and blockers in
    /var/cache/edb), `home` (traces of programs in /root)."""

    def node_context(self, node_id: str, scope: Scope) -> PackageContext:
        """Return the repositories and binary package hosts that this stage sees, and the mirrors of the project."""
        project, epoch = scope.project, scope.project.epoch
        if not self.uses_portage:
            return PackageContext(source_date_epoch=epoch)
        own = project.distfiles
        return PackageContext(
            source_date_epoch=epoch,
            repos=tuple(RepoDescription.of(name, repo) for name, repo in _chosen(self.repos, project.repos).items()),
            binhosts=tuple(
                BinhostDescription(name=name, uri=host.uri, priority=host.priority, signed=host.verify)
                for name, host in self.hosts_of(project).items()
            ),
            mirrors=tuple(own.mirrors),
            distfolder=project.folder / Path(own.folder).expanduser() if own.folder else None,
            services=tuple(project.fetch.allow),
            online=self._commits(project),
        )

    def _commits(self, project: Project) -> dict[str, dict[str, str]]:
        """Return the commits that the lock has for the live packages of this stage, by atom."""
        if not self.online:
            return {}
        from stagewright.kinds.common.online import pinned_commits

        return pinned_commits(project.lock, self.online)

    def node_files(self, scope: Scope) -> NodeFiles:
        """Return the files that the settings name, the repositories, and the keys of binary package hosts."""
        files, project = super().node_files(scope), scope.project
        if not self.uses_portage:
            return files
        repos = {name: project.repo_path(name) for name in _chosen(self.repos, project.repos)}
        hosts = self.hosts_of(project)
        return files.model_copy(update={"repos": repos, "binhost_keys": binhost_keys(project, hosts)})

    def before_build(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check that this computer has Gentoo's keys if a binary package host needs them."""
        yield from super().before_build(project)
        if self.uses_portage:
            yield from ((("binhosts",), error) for error in missing_gentoo_keys(self.hosts_of(project)))

    def hosts_of(self, project: Project) -> dict[str, Binhost]:
        """Return the binary package hosts that this stage uses."""
        return _chosen(self.binhosts, project.binhosts)

    def _repositories(self, project: Project) -> list[Repository]:
        """Return the repositories of the project that this stage uses."""
        chosen = _chosen(self.repos, project.repos).items()
        return [RepoDescription.of(name, repo).at(project.repo_path(name)) for name, repo in chosen]

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check that confdirs fit together, and that the repositories have the profile and the packages."""
        confdirs = {name: project.path(name) for name in self.confdir}
        yield from ((("confdir",), problem) for problem in shape_problems(confdirs))
        repos = self._repositories(project)
        if not all(repo.path.is_dir() for repo in repos):
            return  # already reported, or not fetched yet
        if self.uses_portage:
            yield from check_profile(self.profile, list(confdirs.values()), repos)
            check = self.atom_check(project)
            for path, _, atom in marked(self, FromRepos):
                yield from ((path, error) for error in check.problems(atom, setting_name(path)))

    def named_packages(self, project: Project) -> Iterator[str]:
        """Yield the atoms of this stage and of its sets. Sets that only Portage knows are left out, except @system."""
        confdirs = [project.path(name) for name in self.confdir]
        repos = self._repositories(project)
        for text in dict.fromkeys(atom for _, _, atom in marked(self, FromRepos)):
            yield from atoms_of(text, confdirs, known_chain(self.profile, confdirs, repos) or ())

    def atom_check(self, project: Project) -> AtomCheck:
        """Return the check of atoms by the profile, the confdirs and the settings of this stage."""
        repos = self._repositories(project)
        confdirs = tuple(project.path(name) for name in self.confdir)

        def make(found: Found) -> AtomCheck:
            chain = known_chain(self.profile, confdirs, repos)
            visibility = Visibility(repos, chain, confdirs, self) if chain else None
            online = frozenset(filter(None, map(package_of, self.online)))
            hosts = bool(self.hosts_of(project))
            return AtomCheck(repos, confdirs, visibility, has_binhosts=hosts, online=online, found=found)

        return atom_check_of(project, self, tuple(repos), make)

    def oddities(self, project: Project) -> Iterator[str]:
        """Yield what is odd about the settings, but not an error."""
        if self.uses_portage:
            check = self.atom_check(project)
            for name in self.confdir:
                yield from make_conf_notes(name, project.path(name))
                yield from package_use_notes(name, project.path(name), check)

    @property
    def kept_state(self) -> list[MachineState]:
        """State of one machine that stays in the result."""
        return self.keep_state

    @property
    def uses_portage(self) -> bool:
        """True if the root needs Portage and the project's repositories: for the profile, or to change packages."""
        return self.changes_packages or bool(self.profile)

    @property
    def changes_packages(self) -> bool:
        """True if a setting needs emerge(1)."""
        return True

    def mount_with_portage(self, work: Work[PackageContext], extra: Sequence[Bind] = ()) -> tuple[Root, Portage]:
        """Mount the root with repositories and an /etc/portage by the settings. Return the root and its Portage.

        ``extra`` are additional mounts. Raises: ENVIRONMENT_LACKS if the root does not have Portage or the ccache that
        the settings need. If :attr:`uses_portage` is False, the root needs no Portage and sees no repositories.
        """
        from stagewright.kinds.common.mounted_portage import mount_with_portage

        return mount_with_portage(self._needs(), work, extra)

    def pin(self, work: Work[PackageContext]) -> Pin:
        """Look up the commits of a live package, the only one in ``online`` of this stage."""
        from stagewright.kinds.common.mounted_portage import look_up_live

        return look_up_live(self._needs(), work)

    def _needs(self) -> StageNeeds:
        from stagewright.kinds.common.mounted_portage import StageNeeds

        return StageNeeds(
            settings=self,
            root=self.root,
            uses_portage=self.uses_portage,
            keeps_changed_etc=self.keeps_changed_etc,
            strict=self.strict,
            unowned=self.unowned,
            online=self.online,
        )

    def sources_to_fetch(self, portage: Portage) -> Iterator[FetchRequest]:
        """Yield the packages that ``build`` will install, with its options, as far as they are known before the build.

        Only ``stagewright fetch`` calls this method.
        """
        yield FetchRequest(self.packages)

    def fetch(self, work: Work[PackageContext], *, other_root: bool) -> list[str]:
        """Fetch the sources of the packages of :meth:`sources_to_fetch`. Return their paths in the cache.

        ``other_root`` is True if the input of the stage is not built yet. Then a root below the input is mounted.
        """
        portage = self.portage_for_fetch(work)
        for request in self.sources_to_fetch(portage):
            portage.fetch_sources(request, elsewhere=other_root)
        portage.folders.distfiles.copy_from_mirror()
        return portage.folders.distfiles.paths()

    def portage_for_fetch(self, work: Work[PackageContext]) -> Portage:
        """Return the Portage that fetches sources. It uses no binary package hosts."""
        from stagewright.kinds.common.mounted_portage import without_binhosts

        return self.mount_with_portage(without_binhosts(work))[1]

    def shell_root(self, work: Work[PackageContext]) -> Root:
        """Return the root as the build sees it."""
        return self.mount_with_portage(work)[0]


class OwnRootStage(PackageStage):
    """Base of kinds that install packages from one root into another, which starts empty (ROOT of emerge(1))."""

    def oddities(self, project: Project) -> Iterator[str]:
        """Yield the oddities of stages with packages, and kernels, which need a root that can run."""
        yield from super().oddities(project)
        packages = filter(None, (package_of(atom) for _, _, atom in marked(self, FromRepos)))
        confdirs = [project.path(name) for name in self.confdir]
        yield from kernel_notes(packages, self._repositories(project), self.use, confdirs)

    def new_root(self, work: Work[PackageContext]) -> tuple[Root, Portage]:
        """Make the new root. Return it, and the Portage that installs packages into it, at ``TARGET``."""
        from stagewright.root.root import Root
        from stagewright.root.sandbox import Bind

        folder = work.folder / "target"
        folder.mkdir(exist_ok=True)
        _, portage = self.mount_with_portage(work, [Bind(folder, TARGET, writable=True)])
        return Root(folder, folder, log=work.log), portage

    def sources_to_fetch(self, portage: Portage) -> Iterator[FetchRequest]:
        """Yield the packages of the stage, for the new root."""
        yield FetchRequest(self.packages, target=TARGET)

    def portage_for_fetch(self, work: Work[PackageContext]) -> Portage:
        """Return the Portage that fetches sources, with an empty root as its target."""
        from stagewright.kinds.common.mounted_portage import without_binhosts

        return self.new_root(without_binhosts(work))[1]

    def shell_root(self, work: Work[PackageContext]) -> Root:
        """Return the root that builds, with the new root at /mnt/target."""
        return self.new_root(work)[1].root


def _chosen(wanted: Sequence[str] | None, known: Mapping[str, T]) -> dict[str, T]:
    """Return the entries that a stage names, or all if it names none. Unknown names are reported elsewhere."""
    return {name: known[name] for name in (known if wanted is None else wanted) if name in known}
