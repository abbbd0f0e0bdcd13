"""The /etc/portage that a build sees: assembled in a folder of its own and bound over the root's.

Nothing of it is left in what is built; a project that wants to ship configuration says so with an overlay.
``make.conf`` is a folder whose files Portage reads in order (portage(5)): our defaults, the project's confdirs, the
stage's own settings.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.filedigest import IGNORED
from stagewright.portage.settings import PortageSettings

DISTDIR = "/var/cache/distfiles"
PKGDIR = "/var/cache/binpkgs"
TMPDIR = "/var/tmp"
REPOS = "/var/db/repos"

FEATURES = (
    "-news",
    "-ebuild-locks",
    "-sandbox",  # our own is around everything, and foreign seeds have no sys-apps/sandbox
    "-usersandbox",
    "-network-sandbox",  # the whole build step has no network
    "-ipc-sandbox",
    "-pid-sandbox",
    "-userfetch",
    "-pkgdir-index-trusted",  # each build has a PKGDIR of its own, without an index
    "-merge-sync",  # a commit syncs once, at its end
    "binpkg-multi-instance",
    "parallel-fetch",
)


@dataclass(frozen=True)
class Repository:
    """An ebuild repository on disk, under the name the project gives it."""

    name: str
    path: Path
    main: bool = False
    priority: int = 0

    @property
    def location(self) -> str:
        """Where it is bound inside a root."""
        return f"{REPOS}/{self.name}"


def main_of(repos: Sequence[Repository]) -> Repository | None:
    """Portage's main repository: the one that the project calls so, else its first."""
    return next((repo for repo in repos if repo.main), repos[0] if repos else None)


def assemble(
    folder: Path, settings: PortageSettings, confdirs: Sequence[Path], repos: Sequence[Repository], jobs: int
) -> Path:
    """Write the configuration into ``folder``. Raises ``MISSING_FILE`` for a profile that no repository has."""
    folder.mkdir()
    defaults = folder / "make.conf"
    defaults.mkdir()
    (defaults / "10-stagewright").write_text(make_conf(_defaults(jobs)))
    for confdir in confdirs:
        _merge(confdir, folder)
    (defaults / "90-stage").write_text(make_conf(_of_stage(settings)))
    (folder / "repos.conf").mkdir(exist_ok=True)
    (folder / "repos.conf" / "stagewright.conf").write_text(_repos_conf(repos))
    if settings.profile:
        (folder / "make.profile").unlink(missing_ok=True)
        (folder / "make.profile").symlink_to(profile_link(settings.profile, repos))
    return folder


def _defaults(jobs: int) -> dict[str, str]:
    return {
        "DISTDIR": DISTDIR,
        "PKGDIR": PKGDIR,
        "PORTAGE_TMPDIR": TMPDIR,
        "MAKEOPTS": f"-j{jobs}",
        "FEATURES": " ".join(FEATURES),
        "BINPKG_FORMAT": "gpkg",
        "BINPKG_COMPRESS": "zstd",
        "BINPKG_COMPRESS_FLAGS": "-3",
        "CLEAN_DELAY": "0",
        "EMERGE_WARNING_DELAY": "0",
        "PORTAGE_NICENESS": "0",
    }


def _of_stage(settings: PortageSettings) -> dict[str, str]:
    lists = {
        "USE": settings.use,
        "ACCEPT_KEYWORDS": settings.accept_keywords,
        "ACCEPT_LICENSE": settings.accept_license,
        "INSTALL_MASK": settings.install_mask,
    }
    return {**{name: " ".join(words) for name, words in lists.items() if words}, **settings.make_conf}


def make_conf(variables: Mapping[str, str]) -> str:
    """Variables as a file of make.conf(5)."""
    return "".join(f'{name}="{_quoted(value)}"\n' for name, value in variables.items())


def _quoted(value: str) -> str:
    # Portage reads make.conf with shlex, where ${NAME} in double quotes is expanded; that is left to the user.
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _repos_conf(repos: Sequence[Repository]) -> str:
    main = main_of(repos)
    lines = ["[DEFAULT]", f"main-repo = {main.name}", ""] if main else []
    for repo in repos:
        lines += [f"[{repo.name}]", f"location = {repo.location}", f"priority = {repo.priority}", "auto-sync = no", ""]
    return "\n".join(lines)


def profile_link(profile: str, repos: Sequence[Repository]) -> str:
    """The folder of a profile inside a root. Raises ``MISSING_FILE`` for one that no repository has."""
    name, _, path = profile.rpartition(":")
    candidates = [repo for repo in repos if (repo.name == name if name else True)]
    for repo in sorted(candidates, key=lambda repo: not repo.main):
        if (repo.path / "profiles" / path).is_dir():
            return f"{repo.location}/profiles/{path}"
    looked = ", ".join(repo.name for repo in candidates) or "no repository"
    raise StagewrightError(
        Reason.MISSING_FILE, f"there is no profile {path!r} in {looked}", hint="profiles are folders below profiles/"
    )


def _merge(source: Path, target: Path) -> None:
    """Copy a confdir over what is there. A file ``make.conf`` becomes one of the files of the folder make.conf."""
    for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
        place = target / entry.name
        if entry.name in IGNORED:
            continue
        if entry.is_dir(follow_symlinks=False):
            place.mkdir(exist_ok=True)
            _merge(Path(entry.path), place)
        elif place.is_dir():
            number = sum(1 for _ in place.iterdir())
            shutil.copy(entry.path, place / f"{40 + number}-{shlex.quote(source.name)}")
        else:
            place.unlink(missing_ok=True)
            shutil.copy(entry.path, place, follow_symlinks=False)
