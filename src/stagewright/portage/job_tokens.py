"""Job tokens in Portage: each package that emerge(1) builds takes one, and each job of its make(1) another one."""

from __future__ import annotations

import textwrap
from pathlib import Path

from stagewright.chroot import inside
from stagewright.root.job_tokens import FIFO, INSIDE, SPARE, makeflags
from stagewright.untrusted import read_text

FEATURE = "jobserver-token"
"""Word of FEATURES with which emerge takes a token for each package."""


_TAB = "\t"


def knows_tokens(root: Path) -> bool:
    """Return True if the Portage of a root has :data:`FEATURE`. Another one would warn of the word."""
    return inside(root, _knows_tokens)


def _knows_tokens() -> bool:
    files = Path("/usr/lib").glob("python3*/*-packages/portage/const.py")
    return any(f'"{FEATURE}"' in read_text(file) for file in files)


def bashrc(jobs: int) -> str:
    """Return the part of bashrc that lets a package use tokens, if its MAKEOPTS are those of Stagewright.

    MAKEOPTS are for programs that know no tokens: they run as many jobs as there are tokens when the phase starts. A
    blank at their end marks them: Portage hands them on to the next phase.
    """
    return f"""\
if [[ -p {INSIDE}/{FIFO} ]]; then
	unset MAKEFLAGS # those of emerge
	if [[ ${{MAKEOPTS}} == -j@({jobs}|+([0-9])" ") ]]; then
		export MAKEOPTS="-j$(( $(< {INSIDE}/{SPARE}) )) "
		if [[ ${{EBUILD_PHASE}} == @(compile|test|install) ]]; then
			addwrite {INSIDE}/{FIFO}
{textwrap.indent(makeflags(jobs, 98, 99), 3 * _TAB)}		fi
	fi
fi
"""
