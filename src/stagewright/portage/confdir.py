"""The /etc/portage of a build, assembled in its own folder and mounted over that of the root.

It does not stay in the built root; a project ships configuration by an overlay. ``make.conf`` is a folder whose files
Portage reads in order (portage(5))::

    make.conf/10-stagewright    defaults of Stagewright
    make.conf/5NN-<confdir>/    make.conf of each confdir of the project, which is a file or a folder
    make.conf/90-stage          settings of the stage
    make.conf/95-build          what every build needs: folders, FEATURES, no questions
    make.conf/99-binhosts       settings of binary package hosts (portage/binhosts.py)
    repos.conf/stagewright.conf the repositories that the stage sees
    bashrc                      code of Stagewright, which reads bashrc.project
    bashrc.project              the bashrc of the last confdir that has one
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from stagewright.lazy_dataclass import dataclass
from stagewright.portage import job_tokens
from stagewright.portage.confdir_merge import merge_confdir
from stagewright.portage.repositories import Repository, main_repository, profile_link
from stagewright.portage.settings import PortageSettings
from stagewright.root.job_tokens import FLAG

DISTDIR = "/var/cache/distfiles"
PKGDIR = "/var/cache/binpkgs"
TMPDIR = "/var/tmp"
CCACHE = "/var/cache/ccache"

BUILD = "95-build"
"""The file of make.conf with the variables that every build needs."""

CCACHE_ENV = {"CCACHE_DIR": CCACHE, "CCACHE_COMPILERCHECK": "content", "CCACHE_UMASK": "002"}
"""The environment of ccache(1). It compares compilers by content, since clamped times are equal for all."""

_BASHRC = """\
if [[ -f /etc/portage/bashrc.project ]]; then
	source /etc/portage/bashrc.project
fi
# Packages do not depend on the clock: no file in them is newer than the time stamp of the project.
if [[ ${EBUILD_PHASE} == package && -n ${SOURCE_DATE_EPOCH} ]]; then
	find "${D}" -newermt "@${SOURCE_DATE_EPOCH}" -exec touch -h -d "@${SOURCE_DATE_EPOCH}" {} + || die
fi
"""
"""Code that Portage runs before each phase, also before it makes a binary package (portage(5), ebuild.sh)."""

MEMORY_PER_JOB = 2048
"""MiB that one compiler may need."""

FEATURES = (
    "-news",
    "-ebuild-locks",
    "-network-sandbox",  # the whole build step has no network
    "-ipc-sandbox",
    "-pid-sandbox",
    "-mount-sandbox",
    "-cgroup",  # Stagewright has a control group for the whole build
    "-userfetch",
    "-pkgdir-index-trusted",  # each build has its own PKGDIR, without an index
    "-merge-sync",  # Stagewright syncs once, when it commits the layer
    "-distcc",  # the build step has no network
    "-distcc-pump",
    "-icecream",
    "-getbinpkg",  # only the hosts of the project are used, with the option --getbinpkg
    "-binpkg-signing",  # a build has no secret keys; a binhost signs its packages (portage/sign_packages.py)
    "-binpkg-request-signature",  # packages that were built here have no signature; binrepos.conf asks for others
    "-unmerge-backup",
    "-downgrade-backup",
    "binpkg-multi-instance",
    "parallel-fetch",
)
"""FEATURES that every build needs. They are added to those of profile, confdirs and stage, and win over them."""

NO_SANDBOX = ("-sandbox", "-usersandbox")
"""FEATURES in a root without sys-apps/sandbox, which Portage uses by default. bubblewrap isolates any build."""

FIXED = {
    "DISTDIR": DISTDIR,
    "PKGDIR": PKGDIR,
    "PORTAGE_TMPDIR": TMPDIR,
    "BINPKG_FORMAT": "gpkg",
    "CLEAN_DELAY": "0",
    "EMERGE_WARNING_DELAY": "0",
    "EMERGE_DEFAULT_OPTS": "",
    "PORTAGE_BINHOST": "",
    "PORTAGE_ELOG_SYSTEM": "echo",
    "PORTAGE_IONICE_COMMAND": "",
    "PORTAGE_SCHEDULING_POLICY": "",
}
"""Variables that every build needs. They win over every other make.conf.

Messages of packages are printed: files of logs with times would be part of the result.
"""


@dataclass(frozen=True)
class ParallelJobs:
    """The number of parallel jobs: of make(1) in one package, and of packages."""

    make: int
    packages: int

    @classmethod
    def of(cls, cores: int, memory: int) -> ParallelJobs:
        """Return as many jobs as cores and memory (MiB) allow, so that a big package does not exhaust the memory."""
        room = max(1, memory // MEMORY_PER_JOB)
        make = min(cores, room)
        return cls(make, min(cores, room // make))


def assemble_confdir(
    folder: Path,
    settings: PortageSettings,
    confdirs: Sequence[Path],
    repos: Sequence[Repository],
    parallel: ParallelJobs,
    more: Mapping[str, str] | None = None,
) -> Path:
    """Write the configuration into ``folder``, with ``more`` variables that the build needs, and return it.

    Raises ``MISSING_FILE`` if no repository has the profile,
    ``INVALID_VALUE`` if confdirs do not fit together.
    """
    folder.mkdir()
    files = folder / "make.conf"
    files.mkdir()
    (files / "10-stagewright").write_text(make_conf(_defaults(parallel)), encoding="utf-8")
    for number, confdir in enumerate(confdirs):
        merge_confdir(confdir, folder, number)
    if os.path.lexists(folder / "bashrc"):
        (folder / "bashrc").rename(folder / "bashrc.project")
    (folder / "bashrc").write_text(_BASHRC + job_tokens.bashrc(parallel.make), encoding="utf-8")
    (files / "90-stage").write_text(make_conf(_of_stage(settings)), encoding="utf-8")
    write_build_variables(folder, more or {}, sandbox=False)
    if (folder / "repos.conf").is_symlink():
        (folder / "repos.conf").unlink()
    (folder / "repos.conf").mkdir(exist_ok=True)
    (folder / "repos.conf" / "stagewright.conf").unlink(missing_ok=True)
    (folder / "repos.conf" / "stagewright.conf").write_text(_repos_conf(repos), encoding="utf-8")
    if settings.profile:
        (folder / "make.profile").unlink(missing_ok=True)
        (folder / "make.profile").symlink_to(profile_link(settings.profile, repos))
    return folder


def _defaults(parallel: ParallelJobs) -> dict[str, str]:
    return {
        "MAKEOPTS": f"-j{parallel.make}",
        "BINPKG_COMPRESS": "zstd",
        "BINPKG_COMPRESS_FLAGS": "-3",
        "PORTAGE_NICENESS": "0",
    }


def write_build_variables(
    folder: Path, more: Mapping[str, str], *, sandbox: bool, knows_tokens: bool = False, tokens: bool = False
) -> None:
    """Write the file of make.conf with the variables that the build needs, :data:`FIXED` and ``more``.

    ``sandbox`` is True if the root has sys-apps/sandbox, ``knows_tokens`` if its Portage can take a token for each
    package, and ``tokens`` if there are any. Portage records FEATURES, so these do not depend on ``tokens``.
    """
    features = " ".join(["${FEATURES}", *(() if sandbox else NO_SANDBOX), *FEATURES])
    if tokens:
        more = {**more, "MAKEFLAGS": FLAG}  # not in the environment: emerge would run one package without a token
    if knows_tokens:
        features += f" {job_tokens.FEATURE}"
    text = make_conf({**FIXED, "FEATURES": features, **more})
    (folder / "make.conf" / BUILD).write_text(text, encoding="utf-8")


def _of_stage(settings: PortageSettings) -> dict[str, str]:
    """Return the stage's variables. They replace earlier values; lists and FEATURES are added to them."""
    lists = {name: f"${{{name}}} {' '.join(words)}" for name, words in settings.lists.items()}
    own = {**lists, **settings.flags, **settings.make_conf}
    features = " ".join([*(["ccache"] if settings.ccache else []), settings.make_conf.get("FEATURES", "")]).strip()
    if features:
        own["FEATURES"] = f"${{FEATURES}} {features}"
    if settings.ccache:
        own = {**CCACHE_ENV, **own}
    return own


def make_conf(variables: Mapping[str, str]) -> str:
    """Return variables as the text of a make.conf(5)."""
    return "".join(f'{name}="{_quoted(value)}"\n' for name, value in variables.items())


def _quoted(value: str) -> str:
    # Portage reads make.conf with shlex and expands ${NAME} in double quotes. Users may use that, so $ stays.
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _repos_conf(repos: Sequence[Repository]) -> str:
    main = main_repository(repos)
    lines = ["[DEFAULT]", f"main-repo = {main.name}", ""] if main else []
    for repo in repos:
        lines += [f"[{repo.name}]", f"location = {repo.location}", f"priority = {repo.priority}", "auto-sync = no"]
        overrides = [name for name in repo.eclass_overrides if any(other.name == name for other in repos)]
        lines += [*([f"eclass-overrides = {' '.join(overrides)}"] if overrides else []), ""]
    return "\n".join(lines)
