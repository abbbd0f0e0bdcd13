"""Runs of emerge(1) inside a root: builds without network, and fetch steps with network."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stagewright.confined import Tree
from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.portage.binhosts import INDEXES, Binhosts
from stagewright.portage.binpkgs import BinaryPackages
from stagewright.portage.confdir import PKGDIR, TMPDIR
from stagewright.portage.distfiles import BuildDistfiles
from stagewright.portage.ebuild_records import EbuildMetadata, EbuildRecord
from stagewright.portage.fetch_request import FetchRequest
from stagewright.portage.installed import Package
from stagewright.portage.manifests import Manifests
from stagewright.portage.pkgdir import Pkgdir
from stagewright.portage.repositories import Repository
from stagewright.portage.scripts import QUIET, ask_script, last_line
from stagewright.portage.unowned import regular_files, unowned_error, unowned_files, unowned_notice
from stagewright.root.sandbox import Bind
from stagewright.run import Answer, full_disk_lines
from stagewright.store.place import disk_full

if TYPE_CHECKING:
    from stagewright.portage.emerge_output import EmergeOutput
    from stagewright.root.root import Root

PORTAGE_UID = 250

_LONGEST_LOG = 4 << 20
"""The part of a build log that is searched for the cause of a failure (bytes at its end)."""

DEPCACHE = "/var/cache/edb/dep"

_FAILURES_OF_PORTAGE = (Reason.DEPENDENCIES, Reason.FETCH_FAILED, Reason.PACKAGE_FAILED, Reason.DIGEST_MISMATCH)
"""Errors that are read from Portage's output."""


EmergeProgress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Stage1Packages:
    """The stage1 settings of a profile: the atoms of packages.build, and BOOTSTRAP_USE."""

    packages: list[str]
    bootstrap_use: str


@dataclass(frozen=True)
class PortageFolders:
    """Folders of the host that Portage uses. Each node has its own; all nodes share the cache of distfiles."""

    config: Path  # the assembled /etc/portage
    distfiles: BuildDistfiles
    pkgdir: Pkgdir
    build: Path  # PORTAGE_TMPDIR
    metadata: Path  # metadata that Portage generates for ebuilds that have none; not part of the built root

    def binds(self, repos: Sequence[Repository]) -> list[Bind]:
        """Return the mounts of these folders. Only the fetch step can write distfiles."""
        return [
            *(Bind(repo.path, repo.location, whole=True) for repo in repos),
            *self.distfiles.binds(),
            Bind(self.pkgdir.view, PKGDIR, writable=True),
            Bind(self.build, TMPDIR, writable=True),
            Bind(self.config, "/etc/portage"),
            Bind(self.metadata, DEPCACHE, writable=True),
        ]


@dataclass(frozen=True)
class Portage:
    """The Portage of one root, for one node. Only the fetch step has the mounts of ``fetch_binds``."""

    root: Root
    folders: PortageFolders
    repos: Sequence[Repository]
    epoch: int
    jobs: int = 1  # packages at a time
    tokens: bool = False  # the jobs of a make take tokens, see root/job_tokens.py
    keeps_changed_etc: bool = False  # changed files of /etc stay; new versions become ._cfg files (CONFIG_PROTECT)
    binpkgs: BinaryPackages | None = None  # the cache of binary packages built here
    binhosts: Binhosts | None = None  # binary packages of other machines
    fetch_binds: tuple[Bind, ...] = ()
    strict: bool = False  # files that no package owns are an error
    unowned: Sequence[str] = ()  # patterns of files that need no owner
    on_notice: Callable[[str], None] = lambda _: None
    on_phase: Callable[[str], None] = lambda _: None
    on_progress: EmergeProgress = lambda *_: None
    merged: set[str] = field(default_factory=set)  # packages that were merged so far (category/name-version)

    def install(
        self,
        atoms: Sequence[str],
        *,
        target: str = "/",
        options: Sequence[str] = (),
        use: str | None = None,
        features: str | None = None,
        binary: bool = False,
    ) -> None:
        """Merge packages into the root, or into its folder ``target`` (ROOT of emerge(1)).

        ``use`` are USE flags that override all others, as in the environment of emerge; ``-*`` clears the flags of
        profile and configuration. ``features`` are added to FEATURES. ``binary`` allows only packages in PKGDIR.
        Raises ``DEPENDENCIES``, ``FETCH_FAILED`` or ``PACKAGE_FAILED`` with the output of emerge, and the errors of
        :meth:`Binhosts.check`.
        """
        if not atoms:
            return
        words = self._emerge(target, [*(["--usepkgonly"] if binary else []), *options, *atoms])
        if self.binpkgs:
            self.binpkgs.lend_cached()
        env = {name: value for name, value in {"USE": use, "FEATURES": features}.items() if value is not None}
        if self.binhosts and not binary:
            self._fetch([*words[:1], "--fetchonly", *words[1:]], env)
        with self._finding_unowned(target):
            try:
                if binary or self.binhosts:
                    self.on_phase("install" if binary else "build")
                    self._run(words, env)
                else:
                    self._resolve_once(target, words, env)
            finally:
                self._cache_packages()
        if self.binhosts and target != "/":
            self.root.run("rm", "-rf", f"{target}{INDEXES}")

    def _resolve_once(self, target: str, words: Sequence[str], env: Mapping[str, str]) -> None:
        """Merge packages in one run of emerge, which resolves their dependencies and waits while sources are fetched.

        emerge lists the packages and asks. The sources of those that it will build are fetched in another sandbox, with
        network: those of exactly these versions, whose dependencies are not resolved again. If all packages are in the
        cache, nothing is fetched. With binary package hosts this is not possible: emerge needs their index before.
        """
        output = _new_output()

        def answer(text: str) -> str | None:
            if not output.asks(text):
                return None
            if output.sources:
                atoms = [f"={package}" for package in dict.fromkeys(output.sources)]
                exact = self._emerge(target, ["--fetchonly", "--nodeps", "--usepkg=n", *atoms])
                self._fetch(exact, env)
            self.on_phase("build" if output.sources else "install")
            return "Yes"

        self.on_phase("resolve")
        self._run([*words[:1], "--ask=y", *words[1:]], env, output=output, answer=answer)

    @contextlib.contextmanager
    def _finding_unowned(self, target: str) -> Iterator[None]:
        """Report the files that packages leave and do not own. Raises: BUILD_FAILED if the stage is strict."""
        folders = [bind.source for bind in self.root.binds if bind.target == target]
        root, upper = (folders[-1], folders[-1]) if folders else (self.root.path, self.root.upper)
        before = regular_files(upper)
        yield
        files = unowned_files(root, regular_files(upper) - before, self.unowned)
        if files and self.strict:
            raise unowned_error(files)
        if files:
            self.on_notice(unowned_notice(files))

    def _fetch(self, words: Sequence[str], env: Mapping[str, str]) -> None:
        """Fetch everything that the build step needs."""
        self.on_phase("fetch")
        output = _new_output()
        if self.binhosts:
            self.binhosts.prepare_fetch()
        with self._noting_downloads(output):
            self._run(words, env, fetching=True, output=output)
        self._check_binhosts(output)

    @contextlib.contextmanager
    def _noting_downloads(self, output: EmergeOutput) -> Iterator[None]:
        """Take what a fetch step has downloaded, also if Portage failed.

        Portage fails if a binary package host sends no index, or if it sends a package that is not trusted. The error
        then gives this reason. Other errors and interrupts stay as they are.
        """
        try:
            yield
        except StagewrightError as error:
            if error.reason in _FAILURES_OF_PORTAGE:
                self.take_fetched(output)
                self._check_binhosts(output)
            raise
        self.take_fetched(output)

    def _check_binhosts(self, output: EmergeOutput) -> None:
        if self.binhosts:
            self.binhosts.check(self.root, output.hosts)

    def fetch_sources(self, request: FetchRequest, *, elsewhere: bool = False) -> None:
        """Fetch the sources of packages and of all their dependencies, without building.

        Set ``elsewhere`` if another root will build the packages. Then the packages installed in this root do not
        count, and the sources of all dependencies are fetched. Raises the errors of the fetch step of :meth:`install`.
        """
        if request.atoms:
            options = ["--usepkg=n", *request.options, *(["--emptytree"] if elsewhere else [])]
            plain = replace(self, binpkgs=None, binhosts=None)
            words = plain._emerge(request.target, [*options, *request.atoms])
            env = {"USE": request.use} if request.use is not None else {}
            output = _new_output()
            with plain._noting_downloads(output):
                self._run([*words[:1], "--fetchonly", *words[1:]], env, fetching=True, output=output)

    def take_fetched(self, output: EmergeOutput) -> None:
        """Share the files that a fetch step has downloaded, and note the packages that the build step may make.

        ``output`` is the output of the fetch step. It can be trusted: it was written before any code of a package ran
        as root.
        """
        self.folders.pkgdir.made.update(output.fetched)
        self.folders.distfiles.share(Manifests([repo.path for repo in self.repos], output.fetched))

    @property
    def environment(self) -> dict[str, str]:
        """Variables of emerge in addition to those of the sandbox: the time stamp, and no colours."""
        overwrite = {} if self.keeps_changed_etc else {"CONFIG_PROTECT": "-*"}
        return {"SOURCE_DATE_EPOCH": str(self.epoch), **QUIET, **overwrite}

    @property
    def fetch_only_binds(self) -> list[Bind]:
        """Additional mounts of the fetch step: writable distfiles, and the package sources of this machine."""
        hosts = self.binhosts.fetch_binds() if self.binhosts else []
        return [*self.folders.distfiles.fetch_binds(), *hosts, *self.fetch_binds]

    def ebuild_records(self, packages: Iterable[Package], trees: Mapping[str, str]) -> list[EbuildRecord]:
        """Return the records of those of the packages that were merged. ``trees`` are digests by repository."""
        seen = {bind.target: bind.source for bind in self.root.binds}  # a later mount hides an earlier one
        merged_trees = {repo.name: seen[repo.location] for repo in self.repos if repo.location in seen}
        metadata = EbuildMetadata(self.repos, self.folders.metadata, merged_trees)
        return list(metadata.records((package for package in packages if package.name in self.merged), trees))

    def _cache_packages(self) -> None:
        if self.binpkgs:
            self.binpkgs.cache_new()

    def unmerge(self, atoms: Sequence[str], *, target: str = "/") -> None:
        """Remove packages, even if others need them."""
        if atoms:
            self.on_phase("unmerge")
            self._run(self._emerge(target, ["--unmerge", *atoms]))

    def depclean(self, *, keep_build: bool = True) -> None:
        """Remove packages that neither @system nor @world needs. ``keep_build``: keep build dependencies too."""
        self.on_phase("depclean")
        dependencies = f"--with-bdeps={'y' if keep_build else 'n'}"
        self._run(["emerge", "--ignore-default-opts", "--color=n", "--depclean", dependencies])

    def stage1_packages(self) -> Stage1Packages:
        """Return the stage1 packages and BOOTSTRAP_USE of the profile."""
        return ask_script(self.root, "stage1_packages.py", Stage1Packages, env=self.environment)

    def installed_atoms(self, atoms: Sequence[str]) -> dict[str, list[str]]:
        """Return the installed packages (category/name-version) that match atoms and @sets.

        A virtual matches the packages that satisfy it.
        """
        shape = dict[str, list[str]]
        return ask_script(self.root, "installed_atoms.py", shape, arguments=atoms, env=self.environment)

    def try_compiler(self) -> str:
        """Compile and run a test program with the root's compiler. Return the compiler's name."""
        return last_line(self.root, "try_compiler.sh", env=self.environment)

    def _emerge(self, target: str, words: Sequence[str]) -> list[str]:
        # --binpkg-changed-deps compares the dependencies of a binary package with those of its ebuild. Only packages of
        # other machines need this: packages built here have their dependencies in their fingerprint. In an empty ROOT
        # it is wrong: Portage 3.0.83 adds the libc to RDEPEND, and finds a change.
        changed = "y" if self.binhosts and target == "/" else "n"
        taking = ["--usepkg=y", "--binpkg-respect-use=y", f"--binpkg-changed-deps={changed}"]
        return [
            "emerge",
            "--ignore-default-opts",
            f"--root={target}",
            "--color=n",
            "--nospinner",
            "--quiet-build=y",
            "--autounmask=n",
            f"--jobs={self.jobs}",
            *(["--buildpkg=y"] if self.binpkgs else []),
            *(taking if self.binpkgs or self.binhosts else []),
            f"--getbinpkg={'y' if self.binhosts else 'n'}",  # a confdir cannot add undeclared hosts
            *words,
        ]

    def _run(
        self,
        words: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        fetching: bool = False,
        output: EmergeOutput | None = None,
        answer: Answer | None = None,
    ) -> None:
        output = output or _new_output()

        def on_line(line: str) -> None:
            if step := output.read(line):
                self.on_progress(*step)
                self._cache_packages()

        result = self.root.run(
            *words,
            network=fetching,
            binds=self.fetch_only_binds if fetching else (),
            env={**self.environment, **(env or {})},
            on_line=on_line,
            check=False,
            answer=answer,
        )
        self.merged.update(output.merged)
        if result.code:
            raise self._explained(output.failure(fetching, self.folders.distfiles.shared), output)

    def _explained(self, error: StagewrightError, output: EmergeOutput) -> StagewrightError:
        """Return the error with the build log of the package that failed, if there is one, or with ``DISK_FULL``."""
        if error.reason not in (Reason.PACKAGE_FAILED, Reason.FETCH_FAILED):
            return error
        failed = output.failed if error.reason is Reason.PACKAGE_FAILED else None
        detail = (self._excerpt(failed[0]) if failed else "") or error.detail
        if full := full_disk_lines(detail):
            return disk_full(error.message, "\n".join(full))
        return StagewrightError(error.reason, error.message, detail=detail, hint=error.hint)

    def _excerpt(self, package: str) -> str:
        """Return what matters of the build log of a package; empty if the log cannot be read."""
        try:
            log = Tree(self.folders.build, links=False).tail(f"portage/{package}/temp/build.log", _LONGEST_LOG)
        except OSError:
            return ""
        from stagewright.portage.emerge_output import failure_excerpt  # noqa: PLC0415

        return failure_excerpt(log.splitlines())


def _new_output() -> EmergeOutput:
    from stagewright.portage.emerge_output import EmergeOutput  # noqa: PLC0415  a plan does not run emerge

    return EmergeOutput()
