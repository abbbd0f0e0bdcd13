"""Convert the output of a serial console to plain text."""

from __future__ import annotations

import codecs
import re

_SEQUENCE = re.compile(
    r"\x1b(?:"
    r"\[(?P<arguments>[0-?]*)[ -/]*(?P<final>[@-~])"  # CSI: colours, cursor moves
    r"|[\]P^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC and other strings
    r"|[ -/]+[0-~]|[0-OQ-Z\\`-~])"  # character sets and the rest
)
_PARTIAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]P^_][^\x07\x1b]*\x1b?|[ -/]*)\Z")
_RETURN = re.compile(r"\r+\n?")
_CONTROL = re.compile(r"[\x01-\x08\x0b-\x1f\x7f]")
_MOVE = "\0"  # marks a cursor move, after the NULs of the guest are removed
_LONGEST = 256  # characters of the longest incomplete escape sequence


class Cleaner:
    """Filter that removes escape sequences and control characters from a stream with arbitrary chunks.

    A cursor move to a position becomes a line break, because firmware and boot menus draw with moves only. A single
    carriage return also becomes a line break: it restarts a progress bar or wraps a typed line.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self._fresh = True  # at the start of a line

    def feed(self, data: bytes) -> str:
        """Add bytes. Return the text that is complete now."""
        text = self._held + self._decoder.decode(data).replace("\0", "")
        text, self._held = _split(text)
        text = _SEQUENCE.sub(lambda match: _MOVE if match["final"] in ("H", "f") else "", text)
        return self._breaks(_CONTROL.sub("", _RETURN.sub("\n", text)))

    def _breaks(self, text: str) -> str:
        """Replace cursor moves by line breaks, except at the start of a line."""
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
    """Split off an incomplete end: a part of an escape sequence, or carriage returns."""
    partial = _PARTIAL.search(text)
    if partial and len(partial[0]) < _LONGEST:
        return text[: partial.start()], partial[0]
    bare = text.rstrip("\r")
    return bare, text[len(bare) :]
