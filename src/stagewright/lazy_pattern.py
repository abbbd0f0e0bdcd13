"""Regular expressions that are compiled when they are first used.

To compile one takes 0.1 to 0.6 ms. Modules that a start of the command imports have dozens, and a start uses few.
"""

from __future__ import annotations

import re
from typing import Any, cast


class _Pattern:
    """Stands for a compiled pattern. It keeps each method that was used, so only the first use takes longer."""

    def __init__(self, text: str, flags: int) -> None:
        self._text, self._flags = text, flags

    def __getattr__(self, name: str) -> Any:
        value = getattr(re.compile(self._text, self._flags), name)
        setattr(self, name, value)
        return value


def lazy_pattern(text: str, flags: int = 0) -> re.Pattern[str]:
    """Return a pattern with the methods of :func:`re.compile`'s. An error in it appears at its first use."""
    return cast("re.Pattern[str]", _Pattern(text, flags))
