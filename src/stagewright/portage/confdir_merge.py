"""Confdirs merged into the /etc/portage of a build, in the order of the project.

Portage reads many names of /etc/portage as a file or as a folder of files (portage(5)). Two confdirs can have different
shapes of one name. Then the result is a folder: the file of an earlier confdir becomes its first member, the file of a
later confdir its last one. Portage reads the members in the order of their names.

``make.conf`` is always a folder in the result. Each confdir has its own folder there, so that the order of the
confdirs decides and not the names of their files.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import IGNORED

FILE_OR_FOLDER = frozenset(
    {
        *("make.conf", "repos.conf", "binrepos.conf", "mirrors"),
        *("package.accept_keywords", "package.accept_restrict", "package.env", "package.keywords", "package.license"),
        *("package.mask", "package.properties", "package.unmask", "package.use"),
        *("profile/package.provided", "profile/package.use.mask", "profile/package.use.force", "profile/package.use"),
        *("profile/package.mask", "profile/package.unmask", "profile/package.bashrc", "profile/packages"),
        *("profile/use.mask", "profile/use.force", "profile/use.stable.mask", "profile/use.stable.force"),
        *("profile/package.use.stable.mask", "profile/package.use.stable.force", "profile/package.accept_keywords"),
        *("profile/package.keywords",),
    }
)
"""Names below /etc/portage that Portage reads as a file, or as a folder of files."""

MAKE_CONF = "make.conf"

BUILD_ONLY = (MAKE_CONF, "make.profile", "repos.conf", "patches")
"""Names that never ship: results have their own ones, or none."""

PREFIXED = (
    *("package.accept_keywords", "package.keywords", "package.mask", "package.unmask", "package.use", "package.env"),
    *("env", "profile/package.use.force", "profile/package.use.mask"),
)
"""Folders in which entries with a prefix are for the build only; these are Catalyst's."""

_FIRST, _LAST = "00-", "~"


def merge_confdir(source: Path, target: Path, number: int) -> None:
    """Copy a confdir over the configuration. ``number`` is its place in the order of confdirs.

    Raises ``INVALID_VALUE`` if a name is a file in one confdir and a folder in another, and Portage reads only one.
    """
    waiting = [(source, "")]
    while waiting:
        folder, prefix = waiting.pop()
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.name in IGNORED:
                continue
            name = f"{prefix}{entry.name}"
            if name == MAKE_CONF:
                _merge_make_conf(Path(entry.path), target / name, number)
            elif entry.is_dir(follow_symlinks=False):
                _make_folder(target / name, name, source)
                waiting.append((Path(entry.path), f"{name}/"))
            else:
                _merge_file(Path(entry.path), target / name, name, (number, source))


def shipped_confdir(folder: Path, confdirs: Sequence[Path], prefix: str | None) -> Path:
    """Merge confdirs into an empty folder, and return it, without files that are for the build only.

    These are ``BUILD_ONLY``, and the files and folders called ``prefix`` in the folders of ``PREFIXED``.
    """
    (folder / MAKE_CONF).mkdir()
    for number, confdir in enumerate(confdirs):
        merge_confdir(confdir, folder, number)
    for path in [*(folder / name for name in BUILD_ONLY), *(folder / name / prefix for name in PREFIXED if prefix)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return folder


def _merge_make_conf(source: Path, target: Path, number: int) -> None:
    """Copy a make.conf into the folder of its confdir. Its files replace those of the same name of earlier confdirs."""
    own = target / f"5{number:02}-{_plain(source.parent.name)}"
    own.mkdir()
    if source.is_symlink() or not source.is_dir():
        shutil.copy(source, own / MAKE_CONF, follow_symlinks=False)
        return
    for folder, folders, names in os.walk(source):
        folders[:] = [name for name in folders if name not in IGNORED]
        below = Path(folder).relative_to(source)
        (own / below).mkdir(exist_ok=True)
        for name in (*names, *(name for name in folders if (Path(folder) / name).is_symlink())):
            _remove_earlier(target, below / name)
            shutil.copy(Path(folder) / name, own / below / name, follow_symlinks=False)


def _remove_earlier(target: Path, name: Path) -> None:
    """Remove a file of earlier confdirs. A link to a folder is not followed: it could lead anywhere."""
    for earlier in sorted(target.glob("5??-*")):
        above = [earlier / folder for folder in name.parents]
        if not any(folder.is_symlink() for folder in above) and not (earlier / name).is_dir():
            (earlier / name).unlink(missing_ok=True)


def _make_folder(place: Path, name: str, source: Path) -> None:
    """Make a folder of the result. A file of an earlier confdir becomes its first member."""
    if place.is_symlink():  # of an earlier confdir; it could lead anywhere
        place.unlink()
    if not place.exists():
        place.mkdir()
    elif not place.is_dir():
        _check_shapes(name, source)
        aside = place.with_name(f".{place.name}.stagewright")
        place.rename(aside)
        place.mkdir()
        aside.rename(place / f"{_FIRST}{place.name}")


def _merge_file(source: Path, place: Path, name: str, confdir: tuple[int, Path]) -> None:
    """Copy a file of a confdir. In a folder of an earlier confdir it becomes the last member."""
    if place.is_symlink() or not place.is_dir():
        place.unlink(missing_ok=True)
        shutil.copy(source, place, follow_symlinks=False)
        return
    number, folder = confdir
    _check_shapes(name, folder)
    shutil.copy(source, place / f"{_LAST}{number:02}-{_plain(folder.name)}", follow_symlinks=False)


def _check_shapes(name: str, source: Path) -> None:
    if name not in FILE_OR_FOLDER:
        what = f"confdir {source.name}: {name} is a file in one confdir and a folder in another"
        raise StagewrightError(Reason.INVALID_VALUE, what, hint=f"make it the same in all confdirs ({source / name})")


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "confdir"
