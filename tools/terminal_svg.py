"""Terminals as SVG: one screen, or a recording that plays. An SVG needs nothing from other places.

A recording is a strip of screens that CSS moves behind a window, so it plays wherever a picture is shown. Lines that
several screens share are stored once. Where motion is unwanted (``prefers-reduced-motion``), the last screen stays.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import pyte

CELL, LINE, SIZE, MARGIN, BAR = 8.4, 19, 14, 12, 30
"""Width of a character, height of a line, size of the font, free space around the text, and the title; in pixels."""

BACKGROUND, FOREGROUND, DIM = "#1e1f29", "#e2e2dc", "#9a9ba6"
COLOURS = {
    "black": "#5a5c68",
    "red": "#ff7b72",
    "green": "#7ee787",
    "brown": "#e3b341",
    "blue": "#79c0ff",
    "magenta": "#d2a8ff",
    "cyan": "#76e3ea",
    "white": FOREGROUND,
    "brightblack": DIM,
}
"""Colours by pyte's names; brown is yellow."""

Line = str
"""The ``text`` elements of a line of the screen."""


@dataclass(frozen=True)
class Screen:
    """The content of a terminal at one time."""

    seconds: float
    """Time since the beginning of the recording."""
    lines: tuple[Line, ...]


def lines_of(screen: pyte.Screen) -> tuple[Line, ...]:
    """Return the lines of a screen, without empty ones at its end."""
    found = [_line([screen.buffer[row][column] for column in range(screen.columns)]) for row in range(screen.lines)]
    while found and not found[-1]:
        found.pop()
    return tuple(found)


def _line(cells: Sequence[pyte.screens.Char]) -> Line:
    parts, column = [], 0
    for (colour, bold), group in groupby(cells, key=lambda cell: (cell.fg, cell.bold)):
        text = "".join(cell.data for cell in group)
        if text.strip():
            parts.append(_text(text.rstrip(), column, colour, bold=bold))
        column += len(text)
    return "".join(parts)


def _text(text: str, column: int, colour: str, *, bold: bool) -> str:
    shown = text.lstrip()
    left = MARGIN + (column + len(text) - len(shown)) * CELL
    style = ' font-weight="bold"' if bold else ""
    fill = COLOURS.get(colour, f"#{colour}" if len(colour) == 6 and colour != "default" else "")
    style += f' fill="{fill}"' if fill and fill != FOREGROUND else ""
    # The length is given because the reader's font can be wider than ours.
    kept = html.escape(re.sub("  +", lambda found: "\u00a0" * len(found[0]), shown), quote=False)
    return f'<text x="{left:g}" textLength="{len(shown) * CELL:g}"{style}>{kept}</text>'


def still(lines: Sequence[Line], columns: int, title: str) -> str:
    """Return a picture of one screen."""
    body = "\n".join(f'<g transform="translate(0 {row * LINE})">{line}</g>' for row, line in enumerate(lines) if line)
    return _window(columns, len(lines), title, f'<g transform="translate(0 {BAR + LINE - 5})">{body}</g>')


def recording(screens: Sequence[Screen], columns: int, rows: int, title: str, *, rest: float = 5.0) -> str:
    """Return a picture that plays screens again and again; the last one stays for ``rest`` seconds."""
    total, width = screens[-1].seconds + rest, 2 * MARGIN + columns * CELL
    different = dict.fromkeys(line for screen in screens for line in screen.lines if line)
    numbers = {line: number for number, line in enumerate(different)}
    defined = "\n".join(f'<g id="l{number}">{line}</g>' for line, number in numbers.items())
    strip, moves = [], []
    for place, screen in enumerate(screens):
        uses = "".join(
            f'<use href="#l{numbers[line]}" y="{row * LINE}"/>' for row, line in enumerate(screen.lines) if line
        )
        strip.append(f'<g transform="translate({place * width:g} 0)">{uses}</g>')
        moves.append(f"{screen.seconds / total * 100:.3f}% {{ transform: translateX({-place * width:g}px) }}")
    last = f"translateX({-(len(screens) - 1) * width:g}px)"
    style = (
        f"<style>@keyframes play {{ {' '.join(moves)} 100% {{ transform: {last} }} }}\n"
        f".strip {{ animation: play {total:g}s steps(1, end) infinite }}\n"
        f"@media (prefers-reduced-motion: reduce) {{ .strip {{ animation: none; transform: {last} }} }}</style>"
    )
    body = f'<defs>{defined}</defs>{style}<g transform="translate(0 {BAR + LINE - 5})"><g class="strip">'
    return _window(columns, rows, title, body + "\n".join(strip) + "</g></g>")


def _window(columns: int, rows: int, title: str, body: str) -> str:
    width, height = 2 * MARGIN + columns * CELL, BAR + rows * LINE + MARGIN
    dots = "".join(
        f'<circle cx="{18 + 20 * place}" cy="15" r="6" fill="{colour}"/>'
        for place, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    name = html.escape(title)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{name}"'
        f' font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="{SIZE}"'
        f' fill="{FOREGROUND}">\n'
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{BACKGROUND}"/>{dots}\n'
        f'<text x="{width / 2:g}" y="20" text-anchor="middle" fill="{DIM}">{name}</text>\n{body}\n</svg>\n'
    )
