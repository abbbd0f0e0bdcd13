"""What kinds that install packages share: a root to work in, Portage's settings, and changes to the finished files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Node, Yields
from stagewright.portage.binhosts import Binhosts, Host
from stagewright.portage.binpkgs import BinaryPackages, Provenance, toolchain_of
from stagewright.portage.confdir import Repository, assemble
from stagewright.portage.emerge import PORTAGE_UID, Places, Portage
from stagewright.portage.installed import INSTALLED, as_data, packages_of, settle
from stagewright.portage.settings import PortageSettings
from stagewright.project.fields import AnyRef, Atom, FilePath, FolderPath, Matching, Section
from stagewright.root import files
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind
from stagewright.seeds.apt import fetch_binds
from stagewright.stages.base import Built, Scope, Stage, Work
from stagewright.stages.tools import SANDBOX

T = TypeVar("T")

FOREIGN = "binhosts"
"""The fact in which a layer says which of its packages came from which binary package host."""

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
    unmerge: list[Atom] = []
    """Packages to remove by Portage, whatever needs them."""
    rm: list[str] = []
    """Patterns (the shell's, absolute inside the root) of what to remove. One that matches nothing is reported."""
    empty: list[str] = []
    """Folders whose content to remove."""


class PackageStage(PortageSettings, Stage):
    """Base of kinds that install packages in or from a root."""

    needs = (SANDBOX,)
    wants_memory = 2048

    root: AnyRef
    """The stage or seed to start from."""
    packages: list[Atom] = []
    """What to install: atoms and @sets, as emerge(1) takes them."""

    def node(self, node_id: str, scope: Scope, **context: Any) -> Node:
        """The node, with the repositories and the binary package hosts that this stage sees."""
        repos, hosts = (
            self._chosen(self.repos, scope.project.repos),
            self._chosen(self.binhosts, scope.project.binhosts),
        )
        described = {
            "repos": [{"name": name, "main": repo.main, "priority": repo.priority} for name, repo in repos.items()],
            "binhosts": [{"name": name, "uri": host.uri, "priority": host.priority} for name, host in hosts.items()],
        }
        node = super().node(node_id, scope, **described, **context)
        paths = {
            **{f"repo:{name}": scope.project.path(repo.path) for name, repo in repos.items()},
            **{f"binhost:{name}": scope.project.path(host.keys) for name, host in hosts.items() if host.keys},
        }
        return replace(node, files={**node.files, **paths})

    def _chosen(self, wanted: Sequence[str] | None, known: Mapping[str, T]) -> dict[str, T]:
        names = (wanted if wanted is not None else list(known)) if self.uses_portage else []
        return {name: known[name] for name in names}

    @property
    def uses_portage(self) -> bool:
        """Whether the root needs Portage and the project's repositories."""
        return True

    def portage(self, work: Work, extra: Sequence[Bind] = ()) -> tuple[Root, Portage]:
        """The mounted root and its Portage, configured as this stage says."""
        repos = [
            Repository(repo["name"], work.files[f"repo:{repo['name']}"], repo["main"], repo["priority"])
            for repo in work.context["repos"]
        ]
        confdirs = [work.files[name] for name in self.confdir]
        places = Places(
            config=self._config(work, confdirs, repos),
            distfiles=_for_portage(work.store.cache("distfiles")),
            binpkgs=_for_portage(work.folder / "binpkgs"),
            build=_for_portage(work.folder / "build"),
        )
        hosts = self._hosts(work, places)
        binds = [*places.binds(repos), *(hosts.binds() if hosts else ())] if self.uses_portage else []
        root = work.mount("root", [*binds, *extra])
        if self.uses_portage and not _has(root, "usr/bin/emerge"):
            raise StagewrightError(
                Reason.ENVIRONMENT_LACKS,
                f"{self.root!r} has no Portage, so no packages can be installed in it",
                hint="start from a root with Portage, or install the packages in the stage before",
            )
        if hosts:
            hosts.prepare(root)
        portage = Portage(
            root=root,
            places=places,
            repos=repos,
            epoch=work.epoch,
            jobs=work.cores,
            binpkgs=self._binary_packages(work, places, repos, confdirs) if self.binpkgs else None,
            binhosts=hosts,
            fetch_binds=tuple(fetch_binds(work.folder / "apt", work.store.cache("apt.json"))),
            on_phase=work.phase,
            on_progress=work.progress,
        )
        return root, portage

    def _binary_packages(
        self, work: Work, places: Places, repos: Sequence[Repository], confdirs: Sequence[Path]
    ) -> BinaryPackages:
        meta = work.store.meta(Yields.LAYER, work.inputs["root"].key)
        provenance = Provenance(repos, self, confdirs, toolchain_of(meta.stack, meta.facts))
        return BinaryPackages(work.store.cache("binpkgs"), places.binpkgs, provenance)

    def _hosts(self, work: Work, places: Places) -> Binhosts | None:
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
        return Binhosts(hosts, places.config, folder) if hosts else None

    def _config(self, work: Work, confdirs: Sequence[Path], repos: Sequence[Repository]) -> Path:
        folder = work.folder / "etc-portage"
        return folder if folder.exists() else assemble(folder, self, confdirs, repos, work.cores)

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
    kept = portage.binpkgs.used(root.upper, work.new_folder("used")) if portage.binpkgs else None
    if portage.binhosts and (foreign := portage.binhosts.used(root.upper)):
        facts[FOREIGN] = foreign
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
    folder.chmod(0o2775 if folder.name == "distfiles" else 0o1777)
    return folder
