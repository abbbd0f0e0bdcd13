"""The root of a stage that installs packages, mounted with Portage, its configuration and its caches."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.facts import LayerFacts
from stagewright.kinds.common.online import Mount, lend_sources, look_up
from stagewright.kinds.common.work import Work
from stagewright.lazy_dataclass import dataclass
from stagewright.portage.binhosts import Binhosts, Host
from stagewright.portage.binpkgs import BinaryPackages, Provenance
from stagewright.portage.confdir import CCACHE, ParallelJobs, assemble_confdir, write_build_variables
from stagewright.portage.distfiles import BuildDistfiles
from stagewright.portage.emerge import PORTAGE_UID, Portage, PortageFolders
from stagewright.portage.job_tokens import knows_tokens
from stagewright.portage.metadata import MetadataCache
from stagewright.portage.pkgdir import Pkgdir
from stagewright.portage.repositories import Repository
from stagewright.portage.settings import PortageSettings
from stagewright.portage.unowned import UnownedPattern
from stagewright.project.lock import Pin
from stagewright.root import files
from stagewright.root.host_facts import DRACUT_CONF, DRACUT_PLACE
from stagewright.root.job_tokens import INSIDE
from stagewright.root.lent import LentFolder
from stagewright.root.network import Service
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind
from stagewright.seeds.apt import fetch_binds, local_services
from stagewright.seeds.gentoo_keyring import FETCH
from stagewright.trees import remove_tree


@dataclass(frozen=True)
class StageNeeds:
    """Settings of a stage, and what else its root and Portage there depend on. ``root`` is the name of its input."""

    settings: PortageSettings
    root: str
    uses_portage: bool
    keeps_changed_etc: bool
    strict: bool
    unowned: Sequence[UnownedPattern]
    online: Sequence[str]


def mount_with_portage(
    stage: StageNeeds, work: Work[PackageContext], extra: Sequence[Bind] = ()
) -> tuple[Root, Portage]:
    """Mount the root with repositories and an /etc/portage by the settings. Return the root and its Portage.

    ``extra`` are additional mounts. Raises: ENVIRONMENT_LACKS if the root does not have Portage or the ccache that
    the settings need. If ``stage.uses_portage`` is False, the root needs no Portage and sees no repositories.
    """
    repos = [repo.at(work.node.files.repos[repo.name]) for repo in work.context.repos]
    confdirs = [work.files[name] for name in stage.settings.confdir]
    parallel = ParallelJobs.of(work.cores, work.memory)
    folders = _folders(stage, work, confdirs, repos, parallel)
    hosts = _binhosts(work, folders)
    if stage.uses_portage:
        folders.pkgdir.prepare(PORTAGE_UID)
    binds = [*folders.binds(repos), *(hosts.binds() if hosts else ())] if stage.uses_portage else []
    binds.append(Bind(DRACUT_CONF, DRACUT_PLACE))
    if stage.settings.ccache:
        binds.append(Bind(_ccache(stage, work), CCACHE, writable=True))
    apt = fetch_binds(work.folder / "apt", work.store.cache("apt.json")) if stage.uses_portage else []
    root = replace(work.mount("root", [*binds, *extra]), services=_services(work, apt))
    jobs = parallel.packages
    if work.tokens:
        root = root.with_binds(Bind(work.tokens, INSIDE))
    if stage.uses_portage:
        _check_tools(stage, root)
        sandbox = files.exists(root.path, "usr/bin/sandbox")
        known = knows_tokens(root.path)
        tokens = known and work.tokens is not None
        jobs = parallel.make if tokens else jobs  # each package then takes a token
        variables = folders.distfiles.variables
        write_build_variables(folders.config, variables, sandbox=sandbox, knows_tokens=known, tokens=tokens)
        root = root.with_binds(*_metadata(work).binds(root, repos))
    if hosts:
        hosts.prepare(root)
    if stage.online:
        root = lend_sources(root, list(stage.online), _offline(stage), without_binhosts(work))
    portage = Portage(
        root=root,
        folders=folders,
        repos=repos,
        epoch=work.epoch,
        jobs=jobs,
        tokens=work.tokens is not None,
        keeps_changed_etc=stage.keeps_changed_etc,
        binpkgs=_binary_packages(stage, work, folders, repos, confdirs) if stage.settings.binpkgs else None,
        binhosts=hosts,
        fetch_binds=tuple(apt),
        strict=stage.strict,
        unowned=stage.unowned,
        on_notice=work.notice,
        on_phase=work.phase,
        on_progress=work.progress,
    )
    return root, portage


def _offline(stage: StageNeeds) -> Mount:
    """Return the mount of the stage without live packages: their sources are fetched in this root."""
    return partial(mount_with_portage, replace(stage, online=()))


def look_up_live(stage: StageNeeds, work: Work[PackageContext]) -> Pin:
    """Look up the commits of a live package, the only one in ``online`` of the stage."""
    return look_up(stage.online[0], _offline(stage), without_binhosts(work))


def _folders(
    stage: StageNeeds,
    work: Work[PackageContext],
    confdirs: Sequence[Path],
    repos: Sequence[Repository],
    parallel: ParallelJobs,
) -> PortageFolders:
    """Return the folders of Portage, with an /etc/portage by the settings."""
    distfiles = BuildDistfiles(
        shared=_for_portage(work.store.cache("distfiles")),
        own=_for_portage(work.folder / "distfiles"),
        project=work.origins[0],
        mirrors=work.context.mirrors,
        folder=work.context.distfolder,
    )
    return PortageFolders(
        config=_config(stage, work, confdirs, repos, parallel, distfiles.variables),
        distfiles=distfiles,
        pkgdir=Pkgdir(work.folder / "binpkgs", epoch=work.epoch),
        build=_for_portage(work.folder / "build"),
        metadata=_for_portage(work.folder / "metadata"),
    )


def _check_tools(stage: StageNeeds, root: Root) -> None:
    if not files.exists(root.path, "usr/bin/emerge"):
        raise StagewrightError(
            Reason.ENVIRONMENT_LACKS,
            f"{stage.root!r}: no Portage, so no packages can be installed in it",
            hint="start from a root with Portage, or install the packages in an earlier stage",
        )
    if stage.settings.ccache and not files.exists(root.path, "usr/bin/ccache"):
        raise StagewrightError(
            Reason.ENVIRONMENT_LACKS,
            f"{stage.root!r}: no ccache to compile with",
            hint="install dev-util/ccache in the stage or seed before, or remove `ccache`",
        )


def _ccache(stage: StageNeeds, work: Work[PackageContext]) -> Path:
    """Return the cache of ccache(1) of the project. Only builds of the project read what a build writes there."""
    folder = work.store.cache("ccache")
    folder.mkdir(exist_ok=True)
    own = folder / work.origins[0]
    if own.exists() and own.stat().st_uid != os.geteuid():
        remove_tree(own)  # of builds with other ids, see ids.py
    return _for_portage(own)


def _binary_packages(
    stage: StageNeeds,
    work: Work[PackageContext],
    folders: PortageFolders,
    repos: Sequence[Repository],
    confdirs: Sequence[Path],
) -> BinaryPackages:
    compiler = work.facts("root", LayerFacts).compiler(work.meta("root").stack)
    provenance = Provenance(repos, stage.settings, confdirs, compiler, work.context.online)
    return BinaryPackages(work.store.cache("binpkgs"), folders.pkgdir, provenance, work.origins)


def _binhosts(work: Work[PackageContext], folders: PortageFolders) -> Binhosts | None:
    folder, keys = work.folder / "binhosts", work.node.files.binhost_keys
    if any(host.signed and host.name not in keys for host in work.context.binhosts):
        raise StagewrightError(Reason.NO_KEYS, "binary package hosts: keys not found", hint=FETCH)
    hosts = [
        Host(
            name=host.name,
            uri=host.uri,
            priority=host.priority,
            keys=keys.get(host.name),
            caches=work.store.cache("binhosts"),
            files=LentFolder(folder / "packages" / host.name),
            origin=work.origins[-1],
        )
        for host in work.context.binhosts
    ]
    return Binhosts(hosts, folders.config, folder) if hosts else None


def _metadata(work: Work[PackageContext]) -> MetadataCache:
    cache = work.store.cache("repos") / "md5-cache"
    return MetadataCache(cache, work.folder, work.origins[0], work.key.data["repos"], work.cores, work.phase)


def _config(
    stage: StageNeeds,
    work: Work[PackageContext],
    confdirs: Sequence[Path],
    repos: Sequence[Repository],
    parallel: ParallelJobs,
    more: Mapping[str, str],
) -> Path:
    folder = work.folder / "etc-portage"
    return folder if folder.exists() else assemble_confdir(folder, stage.settings, confdirs, repos, parallel, more)


def _services(work: Work[PackageContext], apt: Sequence[Bind]) -> tuple[Service, ...]:
    """Return the services of this machine that fetch steps need: the project's, and those of its package sources."""
    texts = [path.read_text(encoding="utf-8") for bind in apt for path in sorted(bind.source.iterdir())]
    return (*map(Service.of, work.context.services), *local_services(texts))


def _for_portage(folder: Path) -> Path:
    """Make a folder that Portage's user may write to."""
    folder.mkdir(exist_ok=True)
    os.chown(folder, -1, PORTAGE_UID)
    folder.chmod(0o2775 if "distfiles" in folder.name or folder.parent.name == "ccache" else 0o1777)
    return folder


def without_binhosts(work: Work[PackageContext]) -> Work[PackageContext]:
    """Return a work whose stage sees no binary package hosts."""
    context = work.context.model_copy(update={"binhosts": ()})
    return replace(work, node=replace(work.node, context=context))
