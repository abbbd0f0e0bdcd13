"""Texts with conditions and alternatives: LICENSE, RESTRICT, PROPERTIES and SRC_URI of ebuilds (PMS 8.2).

:func:`parse` returns a list of words, :class:`AnyOf` for ``|| ( ... )``, :class:`When` for ``flag? ( ... )`` and tuples
for ``( ... )``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from stagewright.lazy_dataclass import dataclass

EMPTY_ANY_OF = "__const__/empty-any-of"
"""Portage's word for alternatives without parts, which never hold (PMS 8.2.3, from EAPI 7)."""

_DEEPEST = 50
_MOST_WORDS = 100_000


@dataclass(frozen=True)
class When:
    """Parts that count only if a USE flag is enabled, or disabled if ``negated``."""

    flag: str
    negated: bool
    parts: tuple[Part, ...]

    def holds(self, use: Collection[str]) -> bool:
        """Return True if the parts count with these USE flags."""
        return (self.flag in use) != self.negated


@dataclass(frozen=True)
class AnyOf:
    """Parts of which one must hold."""

    parts: tuple[Part, ...]


Part = str | When | AnyOf | tuple["Part", ...]


def parse(text: str) -> tuple[Part, ...]:
    """Return the parts of a text. Raises ValueError if it is not balanced, too deep or too long."""
    words = text.split()
    if len(words) > _MOST_WORDS:
        raise ValueError(f"too many words ({len(words)})")
    stream = iter(words)
    found = _parts(stream, 0)
    if next(stream, None) is not None:
        raise ValueError("a ) too many")
    return found


def _parts(words: Iterator[str], depth: int) -> tuple[Part, ...]:
    """Return the parts up to the closing parenthesis, or to the end at the top."""
    if depth > _DEEPEST:
        raise ValueError(f"more than {_DEEPEST} levels")
    found: list[Part] = []
    for word in words:
        if word == ")":
            if not depth:
                raise ValueError("a ) too many")
            return tuple(found)
        if word == "(":
            found.append(_parts(words, depth + 1))
        elif word == "||" or (word.endswith("?") and len(word) > 1):
            if next(words, None) != "(":
                raise ValueError(f"{word} without (")
            inner = _parts(words, depth + 1)
            negated = word.startswith("!")
            found.append(AnyOf(inner) if word == "||" else When(word[negated:-1], negated, inner))
        else:
            found.append(word)
    if depth:
        raise ValueError("a ) is missing")
    return tuple(found)


def reduced(parts: tuple[Part, ...], use: Collection[str], *, in_any: bool = False) -> tuple[Part, ...]:
    """Return the parts that count with these USE flags, without empty groups. Alternatives never hold if none is left.

    ``in_any`` is True for alternatives: there, several parts of one condition are one alternative.
    """
    found: list[Part] = []
    for part in parts:
        if isinstance(part, str):
            found.append(part)
        elif isinstance(part, AnyOf):
            inner = reduced(part.parts, use, in_any=True)
            found.append(AnyOf(inner or (EMPTY_ANY_OF,)))
        else:
            if isinstance(part, When) and not part.holds(use):
                continue
            inner = reduced(part.parts if isinstance(part, When) else part, use)
            is_flat = isinstance(part, When) and not in_any
            found.extend(inner if is_flat or len(inner) < 2 else [inner])
    return tuple(found)


def words_of(parts: tuple[Part, ...]) -> Iterator[str]:
    """Yield all words, also those of alternatives and conditions."""
    for part in parts:
        if isinstance(part, str):
            yield part
        else:
            yield from words_of(part if isinstance(part, tuple) else part.parts)


def as_text(parts: tuple[Part, ...]) -> str:
    """Return the parts as a text that :func:`parse` reads."""
    return " ".join(_text(part) for part in parts)


def _text(part: Part) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, tuple):
        return f"( {as_text(part)} )"
    mark = "||" if isinstance(part, AnyOf) else f"{'!' * part.negated}{part.flag}?"
    return f"{mark} ( {as_text(part.parts)} )"
