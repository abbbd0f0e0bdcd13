"""Licences that a channel refuses whatever happens in a build, found before it.

Only what is certain counts: packages that the project names for what is released, if every version in its repositories
has a licence that the channel refuses with all USE flags. Everything else is decided after the build, by the bill.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.finish import Finish
from stagewright.kinds.common.packages import OwnRootStage, PackageStage
from stagewright.kinds.media.livecd_stage2 import LiveStage2
from stagewright.portage.dependency_text import parse
from stagewright.portage.ebuilds import Ebuild, ebuilds
from stagewright.portage.licenses import NO_LICENSE, Accepted
from stagewright.project.fields import NodeRef, marked, package_of
from stagewright.project.model import Project
from stagewright.release.channel import UNLICENSED, ChannelRules

Named = tuple[str, str, str]
"""An atom, its image, and the reason why it is there."""


def certain_refusals(project: Project, artifact: str, rules: ChannelRules) -> Iterator[StagewrightError]:
    """Yield an error for each package of an artifact that the channel refuses for certain."""
    accepted = Accepted(rules.accept)
    named = dict.fromkeys(_named(project, artifact, frozenset()))
    for atom, image, why in named:
        package = package_of(atom)
        if package is None or package.startswith(UNLICENSED):
            continue
        found = [ebuild for name in project.repos for ebuild in ebuilds(project.repo_path(name), package)]
        reasons = [_reason(ebuild, accepted, rules) for ebuild in found]
        if reasons and all(reasons):
            message = f"{artifact}: {package} {reasons[-1]}; channel {rules.name!r} refuses it"
            hint = "remove the package, or accept it in the channel: accept_license, accept_restrict"
            yield StagewrightError(Reason.LICENCE_REFUSED, message, detail=f"  in {image}: {why}", hint=hint)


def _named(project: Project, name: str, gone: frozenset[str]) -> Iterator[Named]:
    """Yield the atoms that a stage and the stages below it put into its root. ``gone`` are removed packages."""
    entry = project.entry(name)
    if entry is None or entry.table != "stages":
        return
    model = entry.model
    if isinstance(model, LiveStage2):  # only its kernels are in a medium for certain
        for kernel in model.kernels.values() or [model.kernel]:
            atoms = filter(None, (kernel.package, kernel.sources))
            yield from ((atom, "kernel", f"the kernel of {name}") for atom in atoms)
        return
    if isinstance(model, Finish):
        gone |= {package for atom in model.unmerge if (package := package_of(atom))}
    if isinstance(model, PackageStage):
        for atom in model.packages:
            if package_of(atom) not in gone and not getattr(model, "depclean", None):
                yield atom, "root", f"`packages` of {name}"
        if isinstance(model, OwnRootStage):
            return
    below = [value for _, _, value in marked(model, NodeRef)]
    for other in below:
        yield from _named(project, other, gone)


def _reason(ebuild: Ebuild, accepted: Accepted, rules: ChannelRules) -> str:
    """Return why the channel refuses an ebuild with all USE flags; "" if that is not certain."""
    if ebuild.license is not None:
        missing = accepted.missing(ebuild.license)
        if missing == [NO_LICENSE]:
            return "" if "?" in ebuild.license else "does not name a licence"
        if missing:
            return f"has the licence {ebuild.license} ({', '.join(missing)} not accepted)"
    words = [*_certain_words(ebuild.restrict or "")] if rules.distributable else []
    refused = [word for word in ("bindist", "fetch", "mirror") if word in words and word not in rules.accept_restrict]
    return f"has RESTRICT={refused[0]}" if refused else ""


def _certain_words(text: str) -> Sequence[str]:
    try:
        return [part for part in parse(text) if isinstance(part, str)]
    except ValueError:
        return []
