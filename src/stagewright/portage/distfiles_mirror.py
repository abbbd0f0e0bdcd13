"""A folder of distfiles that Portage can use as one of GENTOO_MIRRORS (GLEP 75, layout by hashes of file names).

::

    <folder>/distfiles/layout.conf
    <folder>/distfiles/<two digits>/<file>     the first byte of the BLAKE2B of the file name
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

from stagewright.errors import Reason, StagewrightError

LAYOUT = "[structure]\n0=filename-hash BLAKE2B 8\n"
_CONF = "layout.conf"


def path_in_mirror(name: str) -> str:
    """Return the path of a file below the folder distfiles of a mirror."""
    return f"{hashlib.blake2b(name.encode()).hexdigest()[:2]}/{name}"


def check_mirror(folder: Path) -> None:
    """Raise ``INVALID_VALUE`` if a folder is neither empty nor a mirror with this layout."""
    distfiles = folder / "distfiles"
    if folder.exists() and any(folder.iterdir()) and not (distfiles / _CONF).is_file():
        raise StagewrightError(
            Reason.INVALID_VALUE, f"{folder}: not a mirror, and not empty", hint="name a new or an empty folder"
        )
    if (distfiles / _CONF).is_file() and (distfiles / _CONF).read_text(encoding="utf-8") != LAYOUT:
        raise StagewrightError(
            Reason.INVALID_VALUE, f"{folder}: a mirror with another layout", hint="name a new or an empty folder"
        )


def write_mirror(folder: Path, paths: Iterable[str], source: Path) -> list[Path]:
    """Make a folder a mirror of exactly these files of ``source``, by their names. Return the removed files.

    Raises the errors of :func:`check_mirror` before it writes anything.
    """
    check_mirror(folder)
    distfiles = folder / "distfiles"
    distfiles.mkdir(parents=True, exist_ok=True)
    (distfiles / _CONF).write_text(LAYOUT, encoding="utf-8")
    wanted = {distfiles / path_in_mirror(Path(path).name): source / path for path in paths}
    for target, file in wanted.items():
        if not _same(target, file):
            target.parent.mkdir(exist_ok=True)
            temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
            shutil.copy2(file, temporary)
            temporary.chmod(0o644)
            temporary.rename(target)
    extra = [path for path in distfiles.glob("*/*") if path not in wanted]
    for path in extra:
        path.unlink()
    return extra


def _same(target: Path, file: Path) -> bool:
    """True if a mirrored file has the size and the time of its source."""
    if not target.exists():
        return False
    one, two = target.stat(), file.stat()
    return (one.st_size, one.st_mtime_ns) == (two.st_size, two.st_mtime_ns)
