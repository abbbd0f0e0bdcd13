"""Channels of releases: the licences that they accept, and the mark of a release that others must not get."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stagewright.errors import ProblemsError, Reason, StagewrightError, nearest
from stagewright.graph.given import Given
from stagewright.portage.licenses import NO_LICENSE, Accepted, expand, license_groups
from stagewright.project.channels import Channel
from stagewright.project.model import Project
from stagewright.release.bill import Bill, Component, Unowned
from stagewright.release.mark import MARK

UNLICENSED = ("virtual/", "acct-user/", "acct-group/")
"""Categories whose packages contain nothing that a licence could apply to."""


_SHOWN = 10
"""The largest number of paths in a message."""


class ChannelRules(Given):
    """A channel as the node of a release gets it. ``accept`` has no groups: see ``portage.licenses.expand``."""

    name: str
    distributable: bool
    accept: tuple[str, ...]
    accept_restrict: tuple[str, ...] = ()
    unowned_license: dict[str, str] = {}
    description: str = ""

    @property
    def file_mark(self) -> str:
        """The text to append to names of files, before the suffix: empty if the channel is distributable."""
        return "" if self.distributable else f"-{MARK}"

    def to_dict(self) -> dict[str, Any]:
        """Return the entry ``channel`` of manifests."""
        return {"name": self.name, "distributable": self.distributable, "accept_license": list(self.accept)}


def channel_rules(project: Project, name: str) -> ChannelRules:
    """Return the rules of a channel of the project, with the licence groups of its repositories.

    Raises: UNKNOWN_NAME if the project lacks the channel, or if its repositories lack a group that it accepts.
    """
    if name not in project.channels:
        message = f"channel {name!r} not found"
        raise StagewrightError(Reason.UNKNOWN_NAME, message, hint=nearest(name, project.channels))
    channel = project.channels[name]
    return rules_of(name, channel, license_groups(project.repo_path(repo) for repo in project.repos))


def rules_of(name: str, channel: Channel, groups: Mapping[str, Sequence[str]]) -> ChannelRules:
    """Return the rules of a channel with these licence groups. Raises: UNKNOWN_NAME if it accepts another group."""
    return ChannelRules(
        name=name,
        distributable=channel.distributable,
        accept=expand(channel.accepted, groups),
        accept_restrict=tuple(channel.accept_restrict),
        unowned_license=dict(sorted(channel.unowned_license.items())),
        description=channel.description,
    )


def check_bill(rules: ChannelRules, bill: Bill, artifact: str) -> None:
    """Check that a channel accepts everything in an artifact. Raises: LICENCE_REFUSED for all that it refuses.

    Packages that were only used for building are not in the bill.
    """
    accepted = Accepted(rules.accept)
    problems = [
        _refusal(rules, component, artifact, reason)
        for component in bill.components
        for reason in refusals(rules, accepted, component)
    ]
    problems += [error for files in bill.unowned for error in _unowned(rules, accepted, files, artifact)]
    if problems:
        raise ProblemsError(problems)


def refusals(rules: ChannelRules, accepted: Accepted, component: Component) -> list[str]:
    """Return why a channel refuses a package, each as a predicate; empty if it accepts the package."""
    found = []
    exempt = component.kind == "ebuild" and component.name.startswith(UNLICENSED) and not component.license
    missing = [] if exempt else accepted.missing(component.license, component.use)
    if missing == [NO_LICENSE]:
        found.append("does not name a licence")
    elif missing:
        found.append(f"has the licence {component.license} ({', '.join(missing)} not accepted)")
    if rules.distributable:
        words = [word for word in ("bindist", "fetch", "mirror") if word in component.restrict]
        found.extend(f"has RESTRICT={word}" for word in words if word not in rules.accept_restrict)
    return found


def _refusal(rules: ChannelRules, component: Component, artifact: str, reason: str) -> StagewrightError:
    message = f"{artifact}: {component} {reason}; channel {rules.name!r} refuses it"
    places = [f"  in {image}: {component.why.get(image, 'its files are there')}" for image in component.images]
    hint = "remove the package, or accept it in the channel: accept_license, accept_restrict"
    return StagewrightError(Reason.LICENCE_REFUSED, message, detail="\n".join(places), hint=hint)


def _unowned(rules: ChannelRules, accepted: Accepted, files: Unowned, artifact: str) -> Iterator[StagewrightError]:
    """Yield an error for files that belong to no package if no licence is known that the channel accepts."""
    if not rules.distributable or files.is_generated:
        return
    name = files.origin.removeprefix("seed:")
    license_name = rules.unowned_license.get(name) or rules.unowned_license.get("*", "")
    if license_name and not accepted.missing(license_name):
        return
    what = f"{files.count} files of {name} belong to no package" + (f" ({files.maker})" if files.maker else "")
    reason = f"their licence {license_name} is not accepted" if license_name else "no licence is known"
    message = f"{artifact}: {what} and {reason}; channel {rules.name!r} refuses them"
    shown = [*files.paths[:_SHOWN], *(["..."] if files.count > _SHOWN else [])]
    hint = f'name their licence in the channel: unowned_license = {{ "{name}" = "..." }}'
    detail = "\n".join(f"  in {files.image}: {path}" for path in shown)
    yield StagewrightError(Reason.LICENCE_REFUSED, message, detail=detail, hint=hint)


def check_distributable(manifest: Mapping[str, Any], name: str) -> None:
    """Check that a release or an artifact may be given to others, by the entry ``channel`` of its manifest.

    ``name`` is for messages. Raises: NOT_DISTRIBUTABLE if its channel says otherwise.
    """
    channel = manifest.get("channel")
    if isinstance(channel, Mapping) and channel.get("distributable") is not True:
        message = f"{name}: channel {channel.get('name')!r} is not distributable"
        hint = "publish a release of a channel with `distributable = true`"
        raise StagewrightError(Reason.NOT_DISTRIBUTABLE, message, hint=hint)
