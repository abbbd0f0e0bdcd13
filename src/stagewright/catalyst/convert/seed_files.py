"""Seeds: sources that no spec of the run makes, as files of the storedir."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from stagewright.arch import Arch
from stagewright.catalyst.catalyst_conf import CatalystConfig
from stagewright.catalyst.subarches import subarches
from stagewright.catalyst.tokens import STAMP, replace_tokens

_ENDINGS = ("tar.xz", "tar.zst", "tar.bz2", "tar.gz", "tar", "tbz2", "tgz", "txz")
_WORDS = {"bzip2": "tar.bz2", "gzip": "tar.gz", "zstd": "tar.zst", "xz": "tar.xz", "tar": "tar"}
_ARCHES = {"ppc64": Arch.PPC64, "mips64": Arch.MIPS, "s390x": Arch.S390, "sparc64": Arch.SPARC}


def seed_file(identity: str, order: Sequence[str], config: CatalystConfig, tokens: Mapping[str, str]) -> str:
    """Return the file of a seed, relative to the storedir.

    For a name that ends in ``-latest``, it is the file of that name, or else the newest file with a stamp instead. Of
    several endings, the first in ``decompressor_search_order`` is used. If no file exists, the expected one is
    returned.
    """
    wanted = replace_tokens(f"builds/{identity}", tokens)
    folder, _, name = wanted.rpartition("/")
    present = _listing(Path(config.storedir) / folder)
    endings = [_WORDS.get(word, word) for word in order]
    endings += [ending for ending in _ENDINGS if ending not in endings]
    found = next((f"{name}.{ending}" for ending in endings if f"{name}.{ending}" in present), None)
    if found is None and name.endswith("-latest"):
        head = re.escape(name.removesuffix("-latest"))
        tails = "|".join(map(re.escape, endings))
        pattern = re.compile(rf"{head}-(?P<stamp>{STAMP.pattern})\.(?P<ending>{tails})")
        stamped = [match for file in present if (match := pattern.fullmatch(file))]
        newest = max(stamped, key=lambda match: (match["stamp"], -endings.index(match["ending"])), default=None)
        found = newest[0] if newest else None
    return f"{folder}/{found or f'{name}.{endings[0]}'}"


def arch_of(subarch: str) -> Arch | None:
    """Return the architecture of a sub-architecture, or None if Stagewright does not know it."""
    known = subarches().get(subarch)
    if known is None:
        return None
    return _ARCHES.get(known.arch) or next((arch for arch in Arch if arch == known.arch), None)


def _listing(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208  names are all that is wanted
    except (OSError, ValueError):
        return set()
