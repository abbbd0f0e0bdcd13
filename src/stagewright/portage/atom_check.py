"""Check atoms before a build: the repositories must have what they ask for, and Portage must be able to install it.

Only the ebuilds of the named packages are read, so that the check takes a moment for a repository of any size. What
only Portage can find out is not reported: the build does that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field
from pathlib import Path

from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.lazy_dataclass import dataclass
from stagewright.portage.atoms import PackageAtom, parse_atom
from stagewright.portage.ebuilds import Ebuild, by_version, ebuilds, split_version
from stagewright.portage.repositories import Repository, has_package, similar_package_hint
from stagewright.portage.sets import set_lines, set_names
from stagewright.portage.visibility import Mask, Visibility

_MOST_LISTED = 3


@dataclass(frozen=True)
class AtomCheck:
    """The checks of the atoms of one stage.

    ``visibility`` is None if the profile is unknown; then masks and keywords are not checked. ``has_binhosts`` is True
    if binary packages of other machines can replace ebuilds: then only names are checked. ``online`` are packages
    (category/name) that may be live ebuilds. ``found`` are ebuilds that were read already, by package; it grows.
    """

    repos: Sequence[Repository]
    confdirs: Sequence[Path] = ()
    visibility: Visibility | None = None
    has_binhosts: bool = False
    online: frozenset[str] = frozenset()
    found: dict[str, list[Ebuild]] = field(default_factory=dict)

    def problems(self, text: str, what: str, seen: frozenset[str] = frozenset()) -> Iterator[StagewrightError]:
        """Yield the errors of an atom or a @set. ``what`` names its key for messages, such as ``packages.3``."""
        if text.startswith("@"):
            yield from self._of_set(text, what, seen)
            return
        atom = parse_atom(text)
        if atom and not self._is_provided(atom.package):
            error = self._of_atom(atom, what)
            if error:
                yield error

    def _of_set(self, text: str, what: str, seen: frozenset[str]) -> Iterator[StagewrightError]:
        lines = set_lines(text[1:], self.confdirs)
        known = set_names(self.confdirs, self.repos) if lines is None else None
        if known is not None and text[1:] not in known:
            hint = nearest(text, [f"@{name}" for name in known])
            hint += f"\n        or add a file sets/{text[1:]} to a confdir"
            yield StagewrightError(Reason.UNKNOWN_NAME, f"{what}: package set {text} not found", hint=hint)
        for line in lines or ():
            if line.words[0] not in seen:
                for error in self.problems(line.words[0], f"{what}: {text}", seen | {text}):
                    yield error.at(line.place)

    def _of_atom(self, atom: PackageAtom, what: str) -> StagewrightError | None:
        """Return the first error of an atom, from its name to what Portage would choose for it."""
        if not has_package(atom.package, self.repos):
            message = f"{what}: no repository of this stage has {atom.package}"
            return StagewrightError(Reason.UNKNOWN_NAME, message, hint=similar_package_hint(atom.package, self.repos))
        if atom.repository and atom.repository not in {repo.name for repo in self.repos}:
            return self._unknown_repository(atom, what)
        found = self.ebuilds(atom.package)
        if self.has_binhosts or not found:
            return None
        fitting = [ebuild for ebuild in found if atom.matches(atom.package, ebuild)]
        if not fitting:
            return _no_ebuild(atom, what, found)
        return self._bad_flag(atom, what, fitting) or self._not_installable(atom, what, fitting)

    def ebuilds(self, package: str) -> list[Ebuild]:
        """Return the ebuilds of a package (category/name) in all repositories, oldest first."""
        if package not in self.found:
            found = [ebuild for repo in self.repos for ebuild in ebuilds(repo.path, package, repo.name)]
            self.found[package] = sorted(found, key=lambda ebuild: by_version(ebuild.version))
        return self.found[package]

    def _is_provided(self, package: str) -> bool:
        provided = self.visibility.provided if self.visibility else ()
        return any(split_version(cpv)[0] == package for cpv in provided)

    def _unknown_repository(self, atom: PackageAtom, what: str) -> StagewrightError:
        names = [repo.name for repo in self.repos]
        message = f"{what}: {atom.text}: this stage has no repository {atom.repository!r} ({', '.join(names)})"
        owners = [repo.name for repo in self.repos if has_package(atom.package, [repo])]
        hint = f"write {atom.package}::{owners[0]}, or add [repos.{atom.repository}] to the project"
        return StagewrightError(Reason.UNKNOWN_NAME, message, hint=hint)

    def _bad_flag(self, atom: PackageAtom, what: str, fitting: Sequence[Ebuild]) -> StagewrightError | None:
        """Return the error of a USE flag that no fitting ebuild has."""
        if self.visibility is None or any(ebuild.flags is None for ebuild in fitting):
            return None
        for flag in atom.flags:
            known = frozenset[str]().union(*(ebuild.flags or () for ebuild in fitting))
            if flag not in known and not self.is_implicit(flag):
                message = f"{what}: {atom.text}: {atom.package} has no USE flag {flag!r}"
                hint = nearest(flag, known) if known else "remove the flag: the package has no USE flags"
                return StagewrightError(Reason.UNKNOWN_NAME, message, hint=hint)
        return None

    def is_implicit(self, flag: str) -> bool:
        """True if each ebuild has a USE flag without naming it, such as elibc_glibc."""
        if self.visibility is None:
            return True
        flags, prefixes = self.visibility.implicit_flags
        return flag in flags or flag.startswith(prefixes)

    def _not_installable(self, atom: PackageAtom, what: str, fitting: Sequence[Ebuild]) -> StagewrightError | None:
        if atom.package in self.online:
            masks = [(ebuild, self._mask(atom.package, ebuild)) for ebuild in fitting]
            known = [(ebuild, mask) for ebuild, mask in masks if mask]
            return self._masked(atom, what, known) if len(known) == len(masks) else None
        if all(ebuild.is_live for ebuild in fitting):
            return self._live(atom, what, fitting[-1])
        masks = [(ebuild, self._mask(atom.package, ebuild)) for ebuild in fitting]
        visible = [ebuild for ebuild, mask in masks if mask is None]
        if not visible:
            return self._masked(atom, what, [(ebuild, mask) for ebuild, mask in masks if mask and not ebuild.is_live])
        best = visible[-1]  # without metadata, the keywords of a live ebuild are unknown
        return self._live(atom, what, best) if best.is_live and best.is_cached else None

    def _mask(self, package: str, ebuild: Ebuild) -> Mask | None:
        return self.visibility.mask(package, ebuild) if self.visibility else None

    def _masked(self, atom: PackageAtom, what: str, masks: Sequence[tuple[Ebuild, Mask]]) -> StagewrightError:
        newest = list(reversed(masks))[:_MOST_LISTED]
        listed = ", ".join(f"{ebuild.version} by {mask.reason}" for ebuild, mask in newest)
        more = f" and {len(masks) - len(newest)} more" if len(masks) > len(newest) else ""
        message = f"{what}: {atom.text}: every ebuild is masked ({listed}{more})"
        lines = "\n".join(f"  {ebuild.version}: {mask.place}" for ebuild, mask in newest if mask.place)
        return StagewrightError(Reason.DEPENDENCIES, message, detail=lines, hint=_way_out(atom, *newest[0]))

    def _live(self, atom: PackageAtom, what: str, ebuild: Ebuild) -> StagewrightError:
        message = f"{what}: {atom.text}: {atom.package}-{ebuild.version} is a live ebuild, which fetches its source "
        message += "while it is built; a build has no network"
        others = [known for known in self.ebuilds(atom.package) if not known.is_live]
        hint = f"write ={atom.package}-{others[-1].version}, or " if others else ""
        hint += f'add online = ["{atom.package}"] to the stage, which fetches and pins its source'
        return StagewrightError(Reason.INVALID_VALUE, message, hint=hint)


def _no_ebuild(atom: PackageAtom, what: str, found: Sequence[Ebuild]) -> StagewrightError:
    """Return the error of an atom that matches none of the ebuilds of its package."""
    here = [ebuild for ebuild in found if not atom.repository or ebuild.repository == atom.repository]
    if not here:
        owners = ", ".join(sorted({ebuild.repository for ebuild in found}))
        message = f"{what}: {atom.text}: repository {atom.repository!r} does not have {atom.package} ({owners} does)"
        return StagewrightError(Reason.UNKNOWN_NAME, message, hint=f"write {atom.package}::{found[-1].repository}")
    versions = list(dict.fromkeys(ebuild.version for ebuild in here))
    fitting = [ebuild for ebuild in here if not atom.operator or atom.matches_version(ebuild.version)]
    if not fitting:
        near = _nearest_versions(atom.version, versions)
        message = f"{what}: {atom.text}: no ebuild has this version (nearest: {', '.join(near)})"
        return StagewrightError(Reason.UNKNOWN_NAME, message, hint=f"write ={atom.package}-{near[-1]}")
    slots = sorted({_shown_slot(ebuild, atom) for ebuild in fitting}, key=by_version)
    wanted = f"{atom.slot}/{atom.subslot}" if atom.subslot else atom.slot
    message = f"{what}: {atom.text}: no ebuild has slot {wanted} (slots: {', '.join(slots)})"
    return StagewrightError(Reason.UNKNOWN_NAME, message, hint=f"write {atom.package}:{slots[-1]}")


def _shown_slot(ebuild: Ebuild, atom: PackageAtom) -> str:
    return f"{ebuild.slot}/{ebuild.subslot}" if atom.subslot else ebuild.slot


def _nearest_versions(version: str, known: Sequence[str]) -> Sequence[str]:
    """Return the known versions around a version, oldest first. ``known`` is sorted."""
    older = [other for other in known if by_version(other) < by_version(version)]
    start = max(0, min(len(older) - 2, len(known) - _MOST_LISTED))
    return known[start : start + _MOST_LISTED]


def _way_out(atom: PackageAtom, ebuild: Ebuild, mask: Mask) -> str:
    """Return the edit that lets Portage install a masked ebuild."""
    exact = f"={atom.package}-{ebuild.version}"
    if mask.place:
        return f'write "{exact}" into package.unmask of a confdir, or name another version'
    keyword = mask.reason.removeprefix("keyword ")
    wanted = keyword if keyword.startswith("~") else "**"
    return f'write "{exact} {wanted}" into package.accept_keywords of a confdir'
