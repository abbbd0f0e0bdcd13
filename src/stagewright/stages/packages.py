"""What kinds that install packages share: a root to work in, Portage's settings, and changes to the finished files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.graph.node import Node, Yields
from stagewright.portage.binpkgs import BinaryPackages, Provenance, link_packages, packages_in, toolchain_of
from stagewright.portage.confdir import CCACHE, Parallel, assemble
from stagewright.portage.emerge import PORTAGE_UID, Places, Portage
from stagewright.portage.installed import INSTALLED, as_data, packages_of, settle
from stagewright.portage.repos import Repository, has_package, like_package, linked_profile, profile_chain
from stagewright.portage.settings import PortageSettings
from stagewright.project.fields import (
    AnyAtom,
    Atom,
    FilePath,
    FolderPath,
    FromRepos,
    Matching,
    RootRef,
    Section,
    marked,
    package_of,
)
from stagewright.project.model import Project
from stagewright.project.source import Path_
from stagewright.root import files
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind
from stagewright.seeds.apt import fetch_binds
from stagewright.stages.base import Built, Scope, Stage, Work
from stagewright.stages.tools import SANDBOX

TARGET = "/mnt/target"
"""Where a root that is being filled shows up inside the one that fills it."""

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
HostName = Annotated[str, Matching(rf"(?=.{{1,64}}$){_LABEL}(\.{_LABEL})*", "letters, digits, - and dots, as in box-1")]
"""The name of a machine, see hostname(7)."""


class Finish(Section):
    """Changes to the files of a finished root, in the order of these settings."""

    root_overlay: list[FolderPath] = []
    """Folders copied into the root, in this order; what they hold is owned by root there."""
    os_release: dict[str, str] = {}
    """Entries of os-release(5) to set."""
    hostname: HostName | None = None
    """The name in /etc/hostname."""
    script: FilePath | None = None
    """A program to run inside the root; one without a `#!` line is run by /bin/sh."""
    unmerge: list[AnyAtom] = []
    """Packages to remove by Portage, whatever needs them."""
    rm: list[str] = []
    """Patterns (the shell's, absolute inside the root) of what to remove. One that matches nothing is reported."""
    empty: list[str] = []
    """Folders whose content to remove."""


class PackageStage(PortageSettings, Stage):
    """Base of kinds that install packages in or from a root."""

    needs = (SANDBOX,)
    wants_memory = 2048
    protects: ClassVar[bool] = False  # whether files of /etc that an earlier stage changed stay as they are

    root: RootRef
    """The stage or seed to start from."""
    packages: list[Atom] = []
    """What to install: atoms and @sets, as emerge(1) takes them."""

    def node(self, node_id: str, scope: Scope, **context: Any) -> Node:
        """The node, with the repositories that this stage sees."""
        repos = self._repositories(scope.project) if self.uses_portage else []
        node = super().node(node_id, scope, repos=[repo.settings for repo in repos], **context)
        return replace(node, files={**node.files, **{f"repo:{repo.name}": repo.path for repo in repos}})

    def _repositories(self, project: Project) -> list[Repository]:
        """The repositories that this stage sees, and that the project has."""
        known = project.repos
        chosen = [name for name in (known if self.repos is None else self.repos) if name in known]
        settings = ((name, known[name].model_dump(exclude={"path"})) for name in chosen)
        return [Repository.of(project.path(known[name].path), {"name": name, **facts}) for name, facts in settings]

    def check(self, project: Project) -> Iterator[tuple[Path_, StagewrightError]]:
        """Look for the profile and the packages in the repositories."""
        repos = self._repositories(project)
        if not all(repo.path.is_dir() for repo in repos):
            return  # told already, and everything else would only follow from it
        if self.uses_portage or self.profile:
            yield from self._check_profile(project, repos)
        if self.uses_portage:
            for path, _, atom in marked(self, FromRepos):
                package = package_of(atom)
                if package and not has_package(package, repos):
                    message = f"{'.'.join(map(str, path))}: no repository of this stage has {package}"
                    yield path, StagewrightError(Reason.UNKNOWN_NAME, message, hint=like_package(package, repos))

    def _check_profile(self, project: Project, repos: Sequence[Repository]) -> Iterator[tuple[Path_, StagewrightError]]:
        links = (linked_profile(project.path(name) / "make.profile") for name in self.confdir)
        where = ("profile",) if self.profile else ("confdir",)
        profile = self.profile or next(filter(None, links), None)
        if profile:
            try:
                profile_chain(profile, repos)
            except ProblemsError as problems:
                yield from ((where, problem) for problem in problems.problems)
            except StagewrightError as problem:
                yield where, problem
        elif not any(os.path.lexists(project.path(name) / "make.profile") for name in self.confdir):
            hint = 'write profile = "..." with a folder below profiles/ of a repository'
            yield (), StagewrightError(Reason.MISSING_KEY, "a stage that installs packages needs a profile", hint=hint)

    @property
    def uses_portage(self) -> bool:
        """Whether the root needs Portage and the project's repositories."""
        return True

    def portage(self, work: Work, extra: Sequence[Bind] = ()) -> tuple[Root, Portage]:
        """The mounted root and its Portage, configured as this stage says."""
        repos = [Repository.of(work.files[f"repo:{repo['name']}"], repo) for repo in work.context["repos"]]
        confdirs = [work.files[name] for name in self.confdir]
        places = Places(
            config=self._config(work, confdirs, repos),
            distfiles=_for_portage(work.store.cache("distfiles")),
            binpkgs=_for_portage(work.folder / "binpkgs"),
            build=_for_portage(work.folder / "build"),
        )
        binds = [*(places.binds(repos) if self.uses_portage else ()), *extra]
        if self.ccache:
            binds.append(Bind(_for_portage(work.store.cache("ccache")), CCACHE, writable=True))
        root = work.mount("root", binds)
        if self.uses_portage:
            self._check_tools(root)
        portage = Portage(
            root=root,
            places=places,
            repos=repos,
            epoch=work.epoch,
            jobs=Parallel.of(work.cores, work.memory).packages,
            protect=self.protects,
            binpkgs=self._binary_packages(work, places, repos, confdirs) if self.binpkgs else None,
            fetch_binds=tuple(fetch_binds(work.folder / "apt", work.store.cache("apt.json"))),
            on_phase=work.phase,
            on_progress=work.progress,
        )
        return root, portage

    def _check_tools(self, root: Root) -> None:
        if not _has(root, "usr/bin/emerge"):
            raise StagewrightError(
                Reason.ENVIRONMENT_LACKS,
                f"{self.root!r} has no Portage, so no packages can be installed in it",
                hint="start from a root with Portage, or install the packages in the stage before",
            )
        if self.ccache and not _has(root, "usr/bin/ccache"):
            raise StagewrightError(
                Reason.ENVIRONMENT_LACKS,
                f"{self.root!r} has no ccache to compile through",
                hint="install it in the stage or seed before (dev-util/ccache), or leave `ccache` out",
            )

    def _binary_packages(
        self, work: Work, places: Places, repos: Sequence[Repository], confdirs: Sequence[Path]
    ) -> BinaryPackages:
        meta = work.store.meta(Yields.LAYER, work.inputs["root"].key)
        provenance = Provenance(repos, self, confdirs, toolchain_of(meta.stack, meta.facts))
        return BinaryPackages(work.store.cache("binpkgs"), places.binpkgs, provenance)

    def _config(self, work: Work, confdirs: Sequence[Path], repos: Sequence[Repository]) -> Path:
        folder = work.folder / "etc-portage"
        parallel = Parallel.of(work.cores, work.memory)
        return folder if folder.exists() else assemble(folder, self, confdirs, repos, parallel)

    def open(self, work: Work) -> Root:
        """The root as the build sees it."""
        return self.portage(work)[0]


class OwnRootStage(PackageStage):
    """Base of kinds that install packages into a clean root of their own (ROOT of emerge(1)), from another root."""

    def rooms(self, work: Work) -> tuple[Root, Portage]:
        """The clean root, and the Portage that fills it, which sees it at ``TARGET``."""
        folder = work.folder / "target"
        folder.mkdir(exist_ok=True)
        _, portage = self.portage(work, [Bind(folder, TARGET, writable=True)])
        return Root(folder, folder, log=work.log), portage

    def open(self, work: Work) -> Root:
        """The root that builds, with the new one at /mnt/target."""
        return self.rooms(work)[1].root


def layer(root: Root, work: Work, portage: Portage, **facts: Any) -> Built:
    """What a root adds to the layers below it, ready for the store, with the binary packages that went into it."""
    work.phase("commit")
    for path in sorted((root.upper / "etc").rglob("._cfg[0-9]*_*")):
        name = path.relative_to(root.upper)
        work.notice(
            f"a package has another /{name.parent}/{name.name.split('_', 2)[-1]} than the root; it lies at /{name}"
        )
    kept = link_packages(packages_in(portage.places.binpkgs, root.upper), work.new_folder("used"))
    settle(root.upper, work.epoch)
    files.clamp_times(root.upper, work.epoch)
    return Built(root.upper, root.below, facts, kept)


def finish(settings: Finish, root: Root, work: Work, portage: Portage | None) -> dict[str, Any]:
    """Carry out the changes to a root's files; returns what is to be remembered of it (see :func:`conclude`)."""
    with_files(settings, root, work)
    return conclude(settings, root, work, portage)


def with_files(settings: Finish, root: Root, work: Work) -> None:
    """The first half: what is put into a root."""
    work.phase("finish")
    for name in settings.root_overlay:
        files.copy_in(root.path, work.files[name], epoch=work.epoch)
    if settings.os_release:
        _os_release(settings, root, work)
    if settings.hostname:
        files.write_file(root.path, "/etc/hostname", f"{settings.hostname}\n", epoch=work.epoch)


def conclude(settings: Finish, root: Root, work: Work, portage: Portage | None) -> dict[str, Any]:
    """The second half: the script, and what is taken out again.

    Returns facts for the layer: its packages, if their records are among what was removed.
    """
    if settings.script:
        _run_script(work.files[settings.script], root)
    if settings.unmerge:
        assert portage, "unmerge counts as a use of Portage"
        portage.unmerge(settings.unmerge)
    packages = packages_of(root.path)
    for pattern in files.remove(root.path, settings.rm):
        work.notice(f"rm: {pattern} matches nothing")
    for pattern in files.empty(root.path, settings.empty):
        work.notice(f"empty: there is no {pattern}")
    return {INSTALLED: as_data(packages)} if packages and not packages_of(root.path) else {}


def _os_release(settings: Finish, root: Root, work: Work) -> None:
    text = files.read_file(root.path, "/etc/os-release") or ""
    kept = [line for line in text.splitlines() if line.partition("=")[0] not in settings.os_release]
    new = [f'{name}="{value}"' for name, value in settings.os_release.items()]
    files.write_file(root.path, "/etc/os-release", "\n".join([*kept, *new]) + "\n", epoch=work.epoch)


def _run_script(script: Path, root: Root) -> None:
    inner = "/tmp/stagewright-script"
    with script.open("rb") as stream:
        first = stream.readline().decode(errors="replace")
    # As the kernel reads the line, execve(2), but for a file that need not be executable.
    interpreter = first[2:].strip().split(maxsplit=1) if first.startswith("#!") else ["/bin/sh"]
    root.run(*interpreter, inner, binds=[Bind(script, inner)])


def _has(root: Root, path: str) -> bool:
    return files.exists(root.path, path)


def _for_portage(folder: Path) -> Path:
    """A folder that Portage's user may write to."""
    folder.mkdir(exist_ok=True)
    os.chown(folder, -1, PORTAGE_UID)
    folder.chmod(0o2775 if folder.name in ("distfiles", "ccache") else 0o1777)
    return folder
