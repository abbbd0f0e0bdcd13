"""binhost: the binary packages of roots, as a folder for a web server and Portage's --getbinpkg.

Inputs: one or more roots. The result has the binary packages of all their layers, each once, and the index that Portage
writes. Packages that came from other binary package hosts are left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import file_digest
from stagewright.graph.node import NodeFiles
from stagewright.kinds.common.artifact import ArtifactKind
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.facts import Facts, LayerFacts
from stagewright.kinds.common.packages import PackageStage
from stagewright.kinds.common.tools import SANDBOX
from stagewright.kinds.common.work import Built, Work
from stagewright.portage.confdir import PKGDIR
from stagewright.portage.scripts import ask_script
from stagewright.portage.settings import PortageSettings
from stagewright.project.fields import Matching, SecretPath, Section, StageRef
from stagewright.project.model import Project
from stagewright.project.source import KeyPath
from stagewright.root import files
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind

PUBLIC_KEY = "signing-key.asc"
"""Name of the file with the public key, in the folder of the index. Machines that use the packages need the key."""

_NUMBERED = re.compile(r"(?P<name>.+)-(?P<number>\d+)\.gpkg\.tar")


class Signing(Section):
    """Settings for signatures of packages."""

    key: Annotated[str, Matching(r"[0-9A-Fa-f]{40}", "the whole fingerprint, 40 digits")]
    """The fingerprint of the key."""
    secret: SecretPath
    """The file with the secret key, as `gpg --export-secret-keys` writes it. gpg keeps it in memory only."""
    passphrase: SecretPath | None = None
    """A file whose first line is the passphrase of the key."""

    def paths(self) -> dict[str, Path]:
        """Return the files, by setting."""
        named = {"secret": self.secret, "passphrase": self.passphrase}
        return {name: Path(path).expanduser() for name, path in named.items() if path}


class PublishedContext(PackageContext):
    """Context of a folder of binary packages."""

    portage: PackageStage
    """The input root and the settings of the Portage that writes the index."""


class PublishedFacts(Facts):
    """Facts of a folder of binary packages."""

    packages: int
    bytes: int
    signed: str | None = None
    """Fingerprint of the key that signed the packages."""


class BinhostStage(ArtifactKind, kind="binhost"):
    """A stage of kind ``binhost``."""

    context_model = PublishedContext
    facts_model = PublishedFacts
    required_tools = (SANDBOX,)

    roots: Annotated[list[StageRef], Field(min_length=1)]
    """The stages whose packages are published, with the packages of all stages below them."""
    sign: Signing | None = None
    """Sign the packages. The root in which the first stage is built needs gpg and gpg-agent for this."""

    def check(self, project: Project) -> Iterator[tuple[KeyPath, StagewrightError]]:
        """Check that Portage builds at least one of the roots, or a stage below one."""
        known = project.entries["stages"]
        if all(name in known for name in self.roots) and not self._indexing_stage(project):
            problem = "roots: none of these stages installs packages"
            yield ("roots",), StagewrightError(Reason.INVALID_VALUE, problem, hint="name stages with packages")

    def _indexing_stage(self, project: Project) -> PackageStage | None:
        """Return the stage whose Portage writes the index: the first that uses Portage.

        The order is: each root, followed by the stages below it.
        """
        return next((found for root in self.roots for found in _with_portage(project, root)), None)

    def _portage(self, project: Project) -> PackageStage:
        """Return the settings of the Portage that writes the index: those of that stage, without binary packages."""
        by = self._indexing_stage(project)
        assert by, "the project was checked"
        settings = {name: getattr(by, name) for name in PortageSettings.model_fields}
        return PackageStage(root=by.root, **{**settings, "binhosts": [], "binpkgs": False})

    def node_context(self, node_id: str, scope: Scope) -> PublishedContext:
        """Return the repositories and settings of the Portage that writes the index."""
        portage = self._portage(scope.project)
        seen = portage.node_context(node_id, scope)
        return PublishedContext(**{**dict(seen), "portage": portage})

    def node_inputs(self, scope: Scope) -> dict[str, str]:
        """Return the nodes of the roots, and of the root whose Portage writes the index."""
        return {**super().node_inputs(scope), **self._portage(scope.project).node_inputs(scope)}

    def node_files(self, scope: Scope) -> NodeFiles:
        """Return the repositories and confdirs of the Portage that writes the index."""
        return self._portage(scope.project).node_files(scope)

    def missing(self) -> Iterator[StagewrightError]:
        """Yield errors for missing files of the secret key. Without this check, a build could fail after hours."""
        for name, path in self.sign.paths().items() if self.sign else ():
            if not path.is_file():
                yield StagewrightError(
                    Reason.MISSING_FILE, f"sign.{name}: file not found ({path})", hint="build on a computer that has it"
                )

    def build(self, work: Work[PublishedContext]) -> Built:
        """Collect the packages, sign them, and let Portage write the index."""
        root, _ = work.context.portage.mount_with_portage(work)
        folder = work.folder / "binpkgs"
        work.phase("collect")
        renumber = self._collect(work, folder)
        packages = sorted(folder.rglob("*.gpkg.tar"))
        self._report_foreign_packages(work)
        work.phase(f"sign {len(packages)} packages" if self.sign else "index")
        self._write(root, packages, renumber, work)
        _check_index(folder, len(packages))
        for lock in folder.rglob(".*.portage_lockfile"):
            lock.unlink()
        size = sum(path.stat().st_size for path in packages)
        signed = self.sign.key.upper() if self.sign else None
        return Built(folder, PublishedFacts(packages=len(packages), bytes=size, signed=signed))

    def _collect(self, work: Work[PublishedContext], folder: Path) -> dict[str, int]:
        """Link the packages of all layers, each once. Return new build ids, by path.

        Independent builds all begin with build id 1. A different package with a name that is taken gets the next free
        build id.
        """
        seen: dict[str, set[str]] = {}
        renumber = {}
        for source in self._sources(work):
            match = _NUMBERED.fullmatch(source.name)
            assert match, source
            package = f"{source.parent.parent.name}/{source.parent.name}"
            digests = seen.setdefault(f"{package}/{match['name']}", set())
            if (digest := file_digest(source)) in digests:
                continue
            digests.add(digest)
            number = int(match["number"])
            while (target := folder / package / f"{match['name']}-{number}.gpkg.tar").exists():
                number += 1
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(source, target)
            if number != int(match["number"]):
                renumber[str(target.relative_to(folder))] = number
        return renumber

    def _sources(self, work: Work[PublishedContext]) -> Iterator[Path]:
        for role in sorted(role for role in work.inputs if role.startswith("roots.")):
            yield from work.store.binpkgs(work.inputs[role].key)

    def _report_foreign_packages(self, work: Work[PublishedContext]) -> None:
        foreign: dict[str, set[str]] = {}
        for layer in (layer for role in work.inputs for layer in work.layers(role)):
            for host, known in (LayerFacts.of(layer).binhosts or {}).items():
                foreign.setdefault(host, set()).update(known.packages)
        for host, names in sorted(foreign.items()):
            work.notice(f"{len(names)} packages came from binhost {host} and are not published")

    def _write(self, root: Root, packages: list[Path], renumber: dict[str, int], work: Work[PublishedContext]) -> None:
        binds, sign = [], None
        if self.sign:
            if not files.exists(root.path, "usr/bin/gpg-agent"):
                raise StagewrightError(
                    Reason.ENVIRONMENT_LACKS,
                    f"{work.context.portage.root}: no gpg-agent, so it cannot sign packages",
                    hint="add `gpg` and `gpg-agent` to the packages of a Debian seed, app-crypt/gnupg to a stage",
                )
            inner = {name: f"/run/stagewright/{name}" for name in self.sign.paths()}
            binds = [Bind(path, inner[name]) for name, path in self.sign.paths().items()]
            public = f"{PKGDIR}/{PUBLIC_KEY}"
            sign = {"key": self.sign.key, "passphrase": None, **inner, "public": public}
        request = {
            "renumber": {f"{PKGDIR}/{path}": number for path, number in renumber.items()},
            "packages": [f"{PKGDIR}/{path.relative_to(work.folder / 'binpkgs')}" for path in packages],
            "sign": sign,
        }
        problem = ask_script(root, "publish_binpkgs.py", (work.folder / "publish.json", request), binds=binds)
        if problem:
            said, _, detail = problem.strip().partition("\n")
            raise StagewrightError(
                Reason.INVALID_VALUE,
                f"sign.secret: {said}",
                detail=detail,
                hint="write it with `gpg --armor --export-secret-keys FINGERPRINT`, and its passphrase to a file",
            )


def _check_index(folder: Path, packages: int) -> None:
    """Check that the index has all packages: Portage leaves out invalid ones and only prints a message."""
    index = (folder / "Packages").read_text(encoding="utf-8")
    if (listed := len(re.findall(r"^CPV: ", index, re.MULTILINE))) != packages:
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"Portage lists {listed} of {packages} packages in the index",
            hint="the log has Portage's messages about the others",
        )


def _with_portage(project: Project, name: str) -> Iterator[PackageStage]:
    """Yield those that use Portage, of a stage and the stages below it, topmost first."""
    while (entry := project.entry(name)) and entry.table == "stages":
        if isinstance(entry.model, PackageStage) and entry.model.uses_portage:
            yield entry.model
        name = getattr(entry.model, "root", "")
