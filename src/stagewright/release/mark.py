"""The mark of files that others must not get, because the channel of their release is not distributable."""

from __future__ import annotations

import re

MARK = "not-distributable"
"""Part of the names of files that others must not get."""

VARIABLE = "STAGEWRIGHT_CHANNEL"
"""Entry of os-release(5) in roots that others must not get."""


def os_release(private_channel: str) -> dict[str, str]:
    """Return the entries of os-release(5) for a root that others must not get."""
    return {VARIABLE: f"{private_channel} ({MARK})"}


def marked_name(name: str) -> str:
    """Return the name of a file that others must not get: with a mark before its suffix."""
    found = re.fullmatch(r"(.+?)((?:\.tar)?\.[A-Za-z][A-Za-z0-9]*)?", name)
    assert found
    return f"{found[1]}-{MARK}{found[2] or ''}"
