"""Files that a merge left in a root and that no package owns.

An ebuild whose ``src_install`` writes past its image leaves them. They are missing when the package is taken from
the cache the next time, so one key would have two results. sys-apps/sandbox forbids it where a root has it.

Many other files have no owner and are right: Portage, eclasses and eselect modules write caches, links and records when
packages are merged. :data:`KNOWN` has their places. Links have no content to lose, and are not looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated

from stagewright.chroot import inside
from stagewright.errors import Reason, StagewrightError
from stagewright.portage.installed import VDB
from stagewright.project.fields import Matching
from stagewright.trees import LONGEST_PATH, walk_tree
from stagewright.untrusted import read_root_text

UnownedPattern = Annotated[str, Matching(r"/\S.*", "an absolute path inside the root")]

SHOWN = 10
"""Number of files that a message lists."""

MOST = 1000
"""Number of files after which the search ends."""

KNOWN = (
    # Portage, and what it keeps
    *("/var/**", "/run/**", "/tmp/**", "/dev/**", "/proc/**", "/sys/**"),
    *("/etc/portage/**", "/etc/env.d/**", "/etc/environment.d/**", "/etc/profile.env", "/etc/csh.env"),
    *("/etc/ld.so.*", "/etc/ld.so.conf.d/**", "/etc/prelink.conf*", "/etc/config-archive/**", "/**/._cfg*"),
    *("/usr/share/info/dir*", "/usr/local/share/info/dir*"),
    # accounts and identities
    *("/etc/passwd*", "/etc/group*", "/etc/shadow*", "/etc/gshadow*", "/etc/subuid*", "/etc/subgid*"),
    *("/etc/.pwd.lock", "/etc/machine-id", "/etc/hostname", "/etc/resolv.conf", "/etc/ssh/ssh_host_*"),
    # caches and indexes that pkg_postinst makes
    *("/**/__pycache__/**", "/**/*.pyc", "/usr/share/mime/**", "/**/icon-theme.cache", "/**/mimeinfo.cache"),
    *("/**/gschemas.compiled", "/**/gconv-modules.cache", "/**/loaders.cache", "/**/immodules.cache"),
    *("/**/giomodule.cache", "/**/fonts.dir", "/**/fonts.scale", "/**/.uuid", "/**/hwdb.bin"),
    *("/usr/lib/locale/**", "/usr/share/man/**/index.db", "/usr/share/man/whatis", "/**/ls-R", "/usr/share/texmf*/**"),
    *("/etc/texmf/**", "/etc/ssl/**", "/etc/ca-certificates*", "/etc/sgml/**", "/etc/xml/**", "/etc/eselect/**"),
    *("/usr/lib*/python*/site-packages/**/dropin.cache", "/usr/share/applications/*.cache"),
    # settings that packages and eselect modules write, and units that they enable
    *("/etc/locale.*", "/etc/localtime", "/etc/timezone", "/etc/systemd/**", "/etc/runlevels/**", "/etc/kernel/**"),
    *("/etc/python-exec/**", "/etc/java-config-2/**", "/etc/X11/**", "/etc/vconsole.conf", "/etc/os-release"),
    # kernels and their modules
    *("/boot/**", "/efi/**", "/lib/modules/**", "/usr/lib/modules/**", "/usr/src/**"),
)
"""Patterns of files that packages make when they are merged: ``*`` without ``/``, ``**`` with it."""


def regular_files(tree: Path) -> set[str]:
    """Return the regular files of a layer, as absolute paths."""
    return set(inside(tree, _regular_files))


def _regular_files() -> list[str]:
    found = []
    for step in walk_tree(Path("/")):
        if not step.left:
            files = (file.name for file in step.files if file.is_file(follow_symlinks=False))
            found += [f"/{path}" for path in map(step.path, files) if len(path) < LONGEST_PATH]
    return found


def unowned_files(root: Path, paths: Collection[str], allowed: Sequence[str] = ()) -> list[str]:
    """Return those of the files that no installed package owns, up to :data:`MOST`, without the known and allowed."""
    known = re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in (*KNOWN, *allowed)))
    rest = [path for path in paths if not known.fullmatch(path)]
    return inside(root, _without_owner, rest) if rest else []


def _expression(pattern: str) -> str:
    text = re.escape(pattern).replace(r"/\*\*/", "/(?:.*/)?").replace(r"\*\*", ".*")
    return text.replace(r"\*", "[^/]*")


def _without_owner(paths: list[str]) -> list[str]:
    owned = set()
    folders: dict[str, str] = {}
    for contents in Path("/", VDB).glob("*/*/CONTENTS"):
        for line in read_root_text(contents, errors="surrogateescape").splitlines():
            if line.startswith("obj "):
                folder, _, name = line[4:].rsplit(" ", 2)[0].rpartition("/")
                if folder not in folders:  # a merged /usr: packages can own /bin/x, which is /usr/bin/x
                    folders[folder] = os.path.realpath(folder or "/").rstrip("/")
                owned.add(f"{folders[folder]}/{name}")
    return sorted(path for path in paths if path not in owned)[:MOST]


def unowned_error(files: Sequence[str]) -> StagewrightError:
    """Return the error of a strict stage for files without an owner."""
    what = f"{len(files)} files that no package owns (a merge left them), such as {files[0]}"
    detail = "\n".join(files[:SHOWN])
    hint = "correct the ebuild that writes them in src_install, or name the files in `unowned`"
    return StagewrightError(Reason.BUILD_FAILED, what, detail=detail, hint=hint)


def unowned_notice(files: Sequence[str]) -> str:
    """Return the notice for files without an owner."""
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    why = "those of src_install are missing when the package comes from the cache"
    return f"no package owns: {', '.join(files[:SHOWN])}{more}; {why}"
