"""binhost: the binary packages of roots, as a folder for a web server and Portage's --getbinpkg.

Inputs: one or more roots. The result has the binary packages of all their layers, each once, and the index that Portage
writes. Packages that came from other binary package hosts are left out.
"""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import file_digest
from stagewright.graph.node import Node, NodeFiles
from stagewright.kinds.common.artifact import ArtifactKind, Ingredient
from stagewright.kinds.common.base import Scope
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.facts import Facts, LayerFacts
from stagewright.kinds.common.packages import PackageStage
from stagewright.kinds.common.records import Records
from stagewright.kinds.common.tools import GNUPG
from stagewright.kinds.common.work import Built, Work
from stagewright.portage import gpkg
from stagewright.portage.binhosts import CONF
from stagewright.portage.binpkgs import packages_with_paths
from stagewright.portage.index import date_index, entries_of, with_digests
from stagewright.portage.scripts import QUIET
from stagewright.portage.settings import PortageSettings
from stagewright.portage.sign_packages import PackageSigner
from stagewright.project.fields import Matching, SecretPath, Section, StageRef
from stagewright.project.model import Project
from stagewright.project.source import KeyPath

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

    def signer(self, work: Work[Any]) -> PackageSigner:
        """Return the signer of packages."""
        files = self.paths()
        return PackageSigner(self.key, files["secret"], files.get("passphrase"), work.folder / "signing", work.epoch)


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
    required_tools = PackageStage.required_tools
    optional_tools = (GNUPG,)

    roots: Annotated[list[StageRef], Field(min_length=1)]
    """The stages whose packages are published, with the packages of all stages below them."""
    sign: Signing | None = None
    """Sign the packages. This computer's gpg does that, outside of all roots."""

    def node(self, node_id: str, scope: Scope) -> Node:
        """Return the node. Signatures need gpg."""
        node = super().node(node_id, scope)
        return replace(node, tools=(*node.tools, *([GNUPG.program] if self.sign else [])))

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
        private = scope.private_channel(self)
        return PublishedContext(**{**dict(seen), "portage": portage, "private_channel": private})

    def node_inputs(self, scope: Scope) -> dict[str, str]:
        """Return the nodes of the roots, and of the root whose Portage writes the index."""
        return {**super().node_inputs(scope), **self._portage(scope.project).node_inputs(scope)}

    def node_files(self, scope: Scope) -> NodeFiles:
        """Return the repositories and confdirs of the Portage that writes the index."""
        return self._portage(scope.project).node_files(scope)

    def ingredients(self, name: str, scope: Scope) -> list[Ingredient]:
        """Return the packages themselves: only this node knows which of the roots' packages there are."""
        return [Ingredient(stage=name)]

    def missing(self) -> Iterator[StagewrightError]:
        """Yield errors for missing files of the secret key. Without this check, a build could fail after hours."""
        for name, path in self.sign.paths().items() if self.sign else ():
            if not path.is_file():
                yield StagewrightError(
                    Reason.MISSING_FILE, f"sign.{name}: file not found ({path})", hint="build on a computer that has it"
                )

    def build(self, work: Work[PublishedContext]) -> Built:
        """Collect the packages, let Portage write the index, and sign the packages."""
        folder = work.folder / "published"
        work.phase("collect")
        self._collect(work, folder)
        packages = sorted(folder.rglob(f"*{gpkg.SUFFIX}"))
        self._report_foreign_packages(work)
        work.phase("index")
        index = self._index(work, folder)
        if self.sign:
            work.phase(f"sign {len(packages)} packages")
            public = self.sign.signer(work).sign(packages)
            (folder / PUBLIC_KEY).write_text(public, encoding="utf-8")
        folder.mkdir(exist_ok=True)  # without packages there is only an index
        index = date_index(with_digests(index, folder))
        (folder / "Packages").write_text(index, encoding="utf-8")
        (folder / "Packages.gz").write_bytes(gzip.compress(index.encode(), mtime=work.epoch))
        (folder / CONF).write_text(self._configuration(work.node.id), encoding="utf-8")
        records = self._records(work, index).write(work.folder)
        size = sum(path.stat().st_size for path in packages)
        signed = self.sign.key.upper() if self.sign else None
        digest, path = (records.digest, records.path) if records else (None, None)
        facts = PublishedFacts(packages=len(packages), bytes=size, signed=signed, records=digest)
        return Built(folder, facts, records=path)

    def _configuration(self, name: str) -> str:
        """Return lines for binrepos.conf(5) of machines that take the packages."""
        lines = ["# For /etc/portage/binrepos.conf of other machines, with the address of this folder.", f"[{name}]"]
        lines += ["sync-uri = https://SERVER/FOLDER", "priority = 10"]
        if self.sign:
            keyring = "gpg --homedir /etc/portage/gnupg"
            unlock = "--batch --yes --pinentry-mode loopback --passphrase-file /etc/portage/gnupg/pass"
            lines += ["# Portage verifies signatures after these commands of root:", "#   getuto"]
            lines += [f"#   {keyring} --import {PUBLIC_KEY}", f"#   {keyring} {unlock} --lsign-key {self.sign.key}"]
            lines += ["#   chmod a+r /etc/portage/gnupg/pubring.kbx /etc/portage/gnupg/trustdb.gpg"]
        return "\n".join([*lines, f"verify-signature = {'true' if self.sign else 'false'}", ""])

    def _index(self, work: Work[PublishedContext], folder: Path) -> str:
        """Return the index that Portage writes inside the root, which cannot change the packages."""
        root, portage = work.context.portage.mount_with_portage(work)
        pkgdir = portage.folders.pkgdir
        pkgdir.lend(packages_with_paths(sorted(folder.rglob(f"*{gpkg.SUFFIX}"))))
        root.run("emaint", "--fix", "binhost", env={"FEATURES": "-compress-index binpkg-ignore-signature", **QUIET})
        return pkgdir.own.text("Packages")

    def _records(self, work: Work[PublishedContext], index: str) -> Records:
        """Return the records of the packages in an index."""
        layers = [layer for role in sorted(work.inputs) for layer in work.layers(role)]
        packed = {entry.get("CPV") for entry in entries_of(index)}
        return Records([one for one in Records.of_layers(work.store, layers).ebuilds if one.package in packed])

    def _collect(self, work: Work[PublishedContext], folder: Path) -> None:
        """Link the packages of all layers, each once.

        Independent builds all begin with build id 1. A different package with a name that is taken gets the next free
        build id.
        """
        seen: dict[str, set[str]] = {}
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
            if number == int(match["number"]):
                os.link(source, target)
            else:
                gpkg.renumber(gpkg.read(source), number, target, work.epoch)

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


def _with_portage(project: Project, name: str) -> Iterator[PackageStage]:
    """Yield those that use Portage, of a stage and the stages below it, topmost first."""
    while (entry := project.entry(name)) and entry.table == "stages":
        if isinstance(entry.model, PackageStage) and entry.model.uses_portage:
            yield entry.model
        name = getattr(entry.model, "root", "")
