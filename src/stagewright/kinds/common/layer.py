"""The layer of a stage that installs packages: what is done to its files before they enter the store."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from stagewright.chroot import inside
from stagewright.confined import Tree
from stagewright.kinds.common.context import StageContext
from stagewright.kinds.common.facts import BinhostPackages, LayerFacts
from stagewright.kinds.common.packages import PackageStage
from stagewright.kinds.common.records import Records
from stagewright.kinds.common.work import Built, Work
from stagewright.portage.binpkgs import digests_of_made, link_packages, packages_in
from stagewright.portage.installed import clamp_records, installed_packages, order_records, record_digests
from stagewright.root import files
from stagewright.root.machine_state import remove_machine_state

if TYPE_CHECKING:
    from stagewright.portage.emerge import Portage
    from stagewright.root.root import Root


def finish_layer(root: Root, work: Work[StageContext], portage: Portage, facts: LayerFacts) -> Built:
    """Finish the files of a build, and return them as a layer, with the binary packages that were installed.

    State of one machine and the order of merges are removed. Times later than the epoch of the build are set to it.
    Files that Portage kept in /etc are reported.
    """
    work.phase("commit")
    stage = work.node.settings
    assert isinstance(stage, PackageStage)
    overlays = [work.files[name] for name in getattr(stage, "root_overlay", ())]
    remove_machine_state(root.path, root.upper, keep=stage.kept_state, overlays=overlays, empty_id=stage.is_configured)
    for path in sorted(name for name, _ in Tree(root.upper, links=False).files("etc")):
        if fnmatch.fnmatch(path.rpartition("/")[2], "._cfg[0-9]*_*"):
            work.notice(f"/{path}: a package has a newer version of this file; the root keeps its own")
    pkgdir = portage.folders.pkgdir
    pkgdir.take()
    pkgdir.report(work.notice)
    installed = list(packages_in(pkgdir, root.upper))
    kept = link_packages(installed, work.new_folder("used"))
    inside(root.upper, record_digests, Path("/"), digests_of_made(pkgdir, installed))
    if portage.binhosts and (used := portage.binhosts.used(root.upper)):
        found = {host: BinhostPackages.model_validate(known) for host, known in used.items()}
        facts = facts.model_copy(update={"binhosts": found})
    packages = inside(root.path, installed_packages, Path("/")) or list(facts.remembered)
    records = Records(portage.ebuild_records(packages, work.key.data["repos"])).write(work.folder)
    if records:
        facts = facts.model_copy(update={"records": records.digest})
    inside(root.upper, clamp_records, Path("/"), work.epoch)
    inside(root.upper, order_records, Path("/"))
    files.clamp_times(root.upper, work.epoch)
    return Built(root.upper, facts, root.below, kept, records.path if records else None)
