"""Turn what a serial console sends into plain text."""

from __future__ import annotations

import codecs
import re

_SEQUENCE = re.compile(
    r"\x1b(?:"
    r"\[(?P<arguments>[0-?]*)[ -/]*(?P<final>[@-~])"  # CSI, as in colours and cursor moves
    r"|[\]P^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC and other strings
    r"|[ -/]+[0-~]|[0-OQ-Z\\`-~])"  # character sets and the rest
)
_PARTIAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]P^_][^\x07\x1b]*\x1b?|[ -/]*)\Z")
_RETURN = re.compile(r"\r+\n?")
_CONTROL = re.compile(r"[\x01-\x08\x0b-\x1f\x7f]")
_MOVE = "\0"  # stands for a cursor move once the guest's own NULs are out
_LONGEST = 256  # characters of an escape sequence that we wait for


class Cleaner:
    """Strips escape sequences and control characters from a stream, wherever its chunks are cut.

    A cursor move to a place becomes a line break, because firmware and boot menus draw with moves alone. A carriage
    return alone becomes one as well: it starts a progress bar anew or wraps a typed line.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self._fresh = True  # at the start of a line

    def feed(self, data: bytes) -> str:
        """The text that became certain with these bytes."""
        text = self._held + self._decoder.decode(data).replace("\0", "")
        text, self._held = _split(text)
        text = _SEQUENCE.sub(lambda match: _MOVE if match["final"] in ("H", "f") else "", text)
        return self._breaks(_CONTROL.sub("", _RETURN.sub("\n", text)))

    def _breaks(self, text: str) -> str:
        """Make cursor moves line breaks, but add none where a line starts anyway."""
        parts: list[str] = []
        for index, part in enumerate(text.split(_MOVE)):
            if index and not self._fresh:
                parts.append("\n")
                self._fresh = True
            if part:
                parts.append(part)
                self._fresh = part.endswith("\n")
        return "".join(parts)


def _split(text: str) -> tuple[str, str]:
    """Cut off an end that may continue: an escape sequence not yet whole, or carriage returns."""
    partial = _PARTIAL.search(text)
    if partial and len(partial[0]) < _LONGEST:
        return text[: partial.start()], partial[0]
    bare = text.rstrip("\r")
    return bare, text[len(bare) :]
