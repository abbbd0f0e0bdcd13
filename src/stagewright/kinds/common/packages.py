"""What kinds that install packages share: a root to work in, Portage's settings, what is checked before a build."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Node, Yields
from stagewright.kinds.common.base import Built, Scope, Stage, Work
from stagewright.kinds.common.tools import SANDBOX
from stagewright.portage.binhosts import Binhosts, Host
from stagewright.portage.binpkgs import BinaryPackages, Provenance, link_packages, packages_in, toolchain_of
from stagewright.portage.confdir import CCACHE, Parallel, assemble
from stagewright.portage.distfiles import BuildDistfiles
from stagewright.portage.emerge import PORTAGE_UID, InstallRequest, Portage, PortageFolders
from stagewright.portage.installed import clamp_records
from stagewright.portage.metadata import MetadataCache
from stagewright.portage.repositories import Repository, check_profile, has_package, like_package
from stagewright.portage.settings import PortageSettings
from stagewright.project.fields import Atom, FromRepos, RootRef, marked, package_of
from stagewright.project.model import Project
from stagewright.project.source import KeyPath
from stagewright.root import files
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind
from stagewright.seeds.apt import fetch_binds

T = TypeVar("T")

FOREIGN = "binhosts"
"""The fact in which a layer says which of its packages came from which binary package host."""

TARGET = "/mnt/target"
"""Where a root that is being filled shows up inside the one that fills it."""


class PackageStage(PortageSettings, Stage):
    """Base of kinds that install packages in or from a root."""

    required_tools = (SANDBOX,)
    wants_memory = 2048
    protects: ClassVar[bool] = False  # whether files of /etc that an earlier stage changed stay as they are

    root: RootRef
    """The stage or seed to start from."""
    packages: list[Atom] = []
    """What to install: atoms and @sets, as emerge(1) takes them."""

    def node(self, node_id: str, scope: Scope, **context: Any) -> Node:
        """The node, with the repositories and the binary package hosts that this stage sees."""
        repos = self._repositories(scope.project) if self.uses_portage else []
        hosts = _chosen(self.binhosts, scope.project.binhosts) if self.uses_portage else {}
        described = {
            "repos": [repo.settings for repo in repos],
            "binhosts": [{"name": name, "uri": host.uri, "priority": host.priority} for name, host in hosts.items()],
        }
        node = super().node(node_id, scope, **described, **context)
        keys = {f"binhost:{name}": scope.project.path(host.keys) for name, host in hosts.items() if host.keys}
        seen = {f"repo:{repo.name}": repo.path for repo in repos}
        hints = {**node.hints, **_mirrors(scope.project)} if self.uses_portage else node.hints
        return replace(node, files={**node.files, **seen, **keys}, hints=hints)

    def _repositories(self, project: Project) -> list[Repository]:
        """The repositories that this stage sees, and that the project has."""
        chosen = _chosen(self.repos, project.repos).items()
        return [Repository.of(project.repo_path(name), {"name": name, **repo.layout}) for name, repo in chosen]

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Look for the profile and the packages in the repositories."""
        repos = self._repositories(project)
        if not all(repo.path.is_dir() for repo in repos):
            return  # told already, and all else would only follow from it; or it comes from elsewhere, and did not yet
        if self.uses_portage or self.profile:
            yield from check_profile(self.profile, [project.path(name) for name in self.confdir], repos)
        if self.uses_portage:
            for path, _, atom in marked(self, FromRepos):
                package = package_of(atom)
                if package and not has_package(package, repos):
                    message = f"{'.'.join(map(str, path))}: no repository of this stage has {package}"
                    yield path, StagewrightError(Reason.UNKNOWN_NAME, message, hint=like_package(package, repos))

    @property
    def uses_portage(self) -> bool:
        """Whether the root needs Portage and the project's repositories."""
        return True

    def portage(self, work: Work, extra: Sequence[Bind] = ()) -> tuple[Root, Portage]:
        """The mounted root and its Portage, configured as this stage says."""
        repos = [Repository.of(work.files[f"repo:{repo['name']}"], repo) for repo in work.context["repos"]]
        confdirs = [work.files[name] for name in self.confdir]
        parallel = Parallel.of(work.cores, work.memory)
        distfiles = BuildDistfiles(
            shared=_for_portage(work.store.cache("distfiles")),
            own=_for_portage(work.folder / "distfiles"),
            mirrors=tuple(work.hints.get("mirrors", ())),
            folder=Path(work.hints["distfolder"]) if "distfolder" in work.hints else None,
        )
        folders = PortageFolders(
            config=self._config(work, confdirs, repos, parallel, distfiles.variables),
            distfiles=distfiles,
            binpkgs=_for_portage(work.folder / "binpkgs"),
            build=_for_portage(work.folder / "build"),
            metadata=_for_portage(work.folder / "metadata"),
        )
        hosts = self._binhosts(work, folders)
        binds = [*folders.binds(repos), *(hosts.binds() if hosts else ())] if self.uses_portage else []
        if self.ccache:
            binds.append(Bind(_for_portage(work.store.cache("ccache")), CCACHE, writable=True))
        root = work.mount("root", [*binds, *extra])
        if self.uses_portage:
            self._check_tools(root)
            root = root.with_binds(*self._metadata(work).binds(root, repos))
        if hosts:
            hosts.prepare(root)
        portage = Portage(
            root=root,
            folders=folders,
            repos=repos,
            epoch=work.epoch,
            jobs=parallel.packages,
            protect=self.protects,
            binpkgs=self._binary_packages(work, folders, repos, confdirs) if self.binpkgs else None,
            binhosts=hosts,
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
        self, work: Work, folders: PortageFolders, repos: Sequence[Repository], confdirs: Sequence[Path]
    ) -> BinaryPackages:
        meta = work.store.meta(Yields.LAYER, work.inputs["root"].key)
        provenance = Provenance(repos, self, confdirs, toolchain_of(meta.stack, meta.facts))
        return BinaryPackages(work.store.cache("binpkgs"), folders.binpkgs, provenance)

    def _binhosts(self, work: Work, folders: PortageFolders) -> Binhosts | None:
        folder = work.folder / "binhosts"
        hosts = [
            Host(
                name=host["name"],
                uri=host["uri"],
                priority=host["priority"],
                keys=work.files.get(f"binhost:{host['name']}"),
                caches=work.store.cache("binhosts"),
                folder=folder / "packages" / host["name"],
            )
            for host in work.context["binhosts"]
        ]
        return Binhosts(hosts, folders.config, folder) if hosts else None

    def _metadata(self, work: Work) -> MetadataCache:
        cache = work.store.cache("repos") / "md5-cache"
        digests = {name.removeprefix("repo:"): digest for name, digest in work.digests.items()}
        return MetadataCache(cache, work.folder, digests, work.cores, work.phase)

    def _config(
        self,
        work: Work,
        confdirs: Sequence[Path],
        repos: Sequence[Repository],
        parallel: Parallel,
        more: Mapping[str, str],
    ) -> Path:
        folder = work.folder / "etc-portage"
        return folder if folder.exists() else assemble(folder, self, confdirs, repos, parallel, more)

    def installs(self, portage: Portage) -> Iterator[InstallRequest]:
        """What the build will install, as far as that is known before it, for ``stagewright fetch``."""
        yield InstallRequest(self.packages)

    def fetch(self, work: Work) -> list[str]:
        """Fetch the sources of all packages that the build will install; returns the names of the files."""
        portage = self.fetching(work)
        for wanted in self.installs(portage):
            portage.fetch_sources(wanted, elsewhere=work.hints["elsewhere"])
        portage.folders.distfiles.copy_from_mirror()
        return portage.folders.distfiles.names()

    def fetching(self, work: Work) -> Portage:
        """The Portage that fetches; packages of binary package hosts are no sources."""
        return self.model_copy(update={"binhosts": []}).portage(work)[1]

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

    def installs(self, portage: Portage) -> Iterator[InstallRequest]:
        """What will be installed into the clean root."""
        yield InstallRequest(self.packages, target=TARGET)

    def fetching(self, work: Work) -> Portage:
        """The Portage that fetches, with an empty root to fill."""
        return self.model_copy(update={"binhosts": []}).rooms(work)[1]

    def open(self, work: Work) -> Root:
        """The root that builds, with the new one at /mnt/target."""
        return self.rooms(work)[1].root


def _chosen(wanted: Sequence[str] | None, known: Mapping[str, T]) -> dict[str, T]:
    """Those entries that a stage wants, all when it does not say; names that are not there are told elsewhere."""
    return {name: known[name] for name in (known if wanted is None else wanted) if name in known}


def _mirrors(project: Project) -> dict[str, Any]:
    """Where distfiles come from first, by the project."""
    own = project.distfiles
    folder = {"distfolder": str(project.folder / Path(own.folder).expanduser())} if own.folder else {}
    return {"mirrors": list(own.mirrors), **folder}


def layer(root: Root, work: Work, portage: Portage, **facts: Any) -> Built:
    """What a root adds to the layers below it, ready for the store, with the binary packages that went into it."""
    work.phase("commit")
    for path in sorted((root.upper / "etc").rglob("._cfg[0-9]*_*")):
        work.notice(f"a package has a newer file than the one that the root keeps: /{path.relative_to(root.upper)}")
    kept = link_packages(packages_in(portage.folders.binpkgs, root.upper), work.new_folder("used"))
    if portage.binhosts and (foreign := portage.binhosts.used(root.upper)):
        facts[FOREIGN] = foreign
    clamp_records(root.upper, work.epoch)
    files.clamp_times(root.upper, work.epoch)
    return Built(root.upper, root.below, facts, kept)


def _has(root: Root, path: str) -> bool:
    return files.exists(root.path, path)


def _for_portage(folder: Path) -> Path:
    """A folder that Portage's user may write to."""
    folder.mkdir(exist_ok=True)
    os.chown(folder, -1, PORTAGE_UID)
    folder.chmod(0o2775 if folder.name in ("distfiles", "ccache") else 0o1777)
    return folder
