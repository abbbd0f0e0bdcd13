"""Names of keys for QEMU's command ``send-key`` (QKeyCode in qapi/ui.json), and the keys of characters."""

from __future__ import annotations

from typing import Any

from stagewright.errors import Reason, StagewrightError

_NAMES = {"enter": "ret", "return": "ret", "del": "delete", "escape": "esc", "space": "spc", "pageup": "pgup"}
_NAMES |= {"pagedown": "pgdn", "super": "meta_l", "win": "meta_l"}
"""Common names of keys that QEMU names differently."""

_PLAIN = {" ": "spc", "\n": "ret", "\t": "tab", "-": "minus", "=": "equal", "[": "bracket_left", "]": "bracket_right"}
_PLAIN |= {"\\": "backslash", ";": "semicolon", "'": "apostrophe", "`": "grave_accent", ",": "comma", ".": "dot"}
_PLAIN |= {"/": "slash"}

_SHIFTED = dict(zip('_+{}|:"~<>?!@#$%^&*()', "-=[]\\;'`,./1234567890", strict=True))
"""The character of the same key without Shift, on a US keyboard."""


def keys_of(combination: str) -> list[dict[str, Any]]:
    """Return the keys of a combination such as ``ctrl-alt-delete``, as arguments of ``send-key``."""
    names = [word for word in combination.lower().split("-") if word] or ["minus"]
    return [{"type": "qcode", "data": _NAMES.get(name, name)} for name in names]


def keys_of_character(character: str) -> list[dict[str, Any]]:
    """Return the keys of a character on a US keyboard. Raises: USAGE if it has none."""
    shift = character in _SHIFTED or character.isupper()
    plain = _SHIFTED.get(character, character.lower())
    name = _PLAIN.get(plain, plain)
    if not (plain in _PLAIN or (plain.isascii() and plain.isalnum())):
        raise StagewrightError(Reason.USAGE, f"{character!r}: not on a US keyboard", hint="type it on the console")
    return keys_of(f"shift-{name}" if shift else name)
