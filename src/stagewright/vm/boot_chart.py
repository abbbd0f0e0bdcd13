"""The chart of a boot, as SVG: the parts of the boot, the steps of the test, units of systemd, and errors, over time.

The file has no scripts and loads nothing. Its colours follow the light or dark setting of the viewer. All texts come
from guests and projects, so they are escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

from stagewright.lazy_dataclass import dataclass
from stagewright.vm.console_scan import Finding
from stagewright.vm.units import Unit

MOST_UNITS = 40
"""Number of units in a chart: those that took longest, and all that failed."""

MOST_ERRORS = 10
"""Number of errors that a chart names. It has a line for each one."""

_WIDTH, _LEFT, _RIGHT, _TOP = 1000, 20, 20, 64  # pixels: the picture, its margins, and the space for title and axis
_ROW, _BAR = 20, 14
_CHARACTER = 6.2  # pixels of a character of the font, on average
_LONGEST = 80  # characters of a label
_TICKS = 10  # number of ticks that the axis has at most
_ILLEGAL = re.compile(r"[^\x09\x0a\x0d\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2

_STYLE = """
text { font: 11px system-ui, "DejaVu Sans", sans-serif; fill: #1f2328; }
.title { font-size: 15px; font-weight: 600; }
.heading { font-weight: 600; }
.small { fill: #59636e; }
.paper { fill: #ffffff; }
.grid { stroke: #d1d9e0; }
.part { fill: #54aeff; }
.step { fill: #57ab5a; }
.unit { fill: #b392f0; }
.failed { fill: #e5534b; }
.error { fill: #cf222e; stroke: #cf222e; stroke-dasharray: 3 3; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .small { fill: #9198a1; }
  .paper { fill: #0d1117; }
  .grid { stroke: #3d444d; }
  .part { fill: #1f6feb; }
  .step { fill: #347d39; }
  .unit { fill: #8256d0; }
  .failed { fill: #c93c37; }
  .error { fill: #f47067; stroke: #f47067; }
}
"""


@dataclass(frozen=True)
class Bar:
    """A bar: its label, begin and end in seconds, and its style: ``part``, ``step``, ``unit``, ``failed`` or ``error``.

    An ``error`` is a moment.
    """

    label: str
    start: float
    end: float
    style: str


@dataclass(frozen=True)
class Group:
    """Bars with a heading."""

    heading: str
    bars: Sequence[Bar]


def parts_of_boot(milestones: Mapping[str, float], end: float) -> list[Bar]:
    """Return the parts of a boot. ``milestones`` has the begin of each part that the console showed."""
    known = [("firmware and loader", 0.0)]
    for milestone, label in (("kernel", "kernel"), ("initramfs", "initramfs"), ("switch-root", "system")):
        if milestone in milestones:
            known.append((label, milestones[milestone]))
    ends = [start for _, start in known[1:]] + [end]
    return [Bar(label, start, max(start, stop), "part") for (label, start), stop in zip(known, ends, strict=True)]


def unit_bars(units: Sequence[Unit]) -> list[Bar]:
    """Return bars for the units that took longest and those that failed, in the order of their starts."""
    longest = sorted(units, key=lambda unit: (not unit.failed, unit.start - unit.end))[:MOST_UNITS]
    bars = (Bar(unit.name, unit.start, unit.end, "failed" if unit.failed else "unit") for unit in longest)
    return sorted(bars, key=lambda bar: (bar.start, bar.end))


def error_bars(findings: Sequence[Finding]) -> list[Bar]:
    """Return a bar for each of the first errors."""
    return [Bar(finding.meaning, finding.seconds, finding.seconds, "error") for finding in findings[:MOST_ERRORS]]


def chart(title: str, groups: Iterable[Group], findings: Sequence[Finding] = ()) -> str:
    """Return the SVG of a chart."""
    shown = [group for group in groups if group.bars]
    end = max([bar.end for group in shown for bar in group.bars] + [finding.seconds for finding in findings], default=0)
    axis = _Axis(max(end, 0.1))
    rows, y = [], float(_TOP)
    for group in shown:
        rows.append(_text(_LEFT, y + 13, group.heading, "heading"))
        y += _ROW
        for bar in group.bars:
            rows += axis.bar(bar, y)
            y += _ROW
        y += _ROW / 2
    height = y + _ROW
    body = [
        f'<rect class="paper" width="{_WIDTH}" height="{height:.0f}"/>',
        _text(_LEFT, 24, title, "title"),
        *axis.grid(height),
        *(axis.mark(finding, height) for finding in findings),
        *rows,
    ]
    size = f'width="{_WIDTH}" height="{height:.0f}" viewBox="0 0 {_WIDTH} {height:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label={quoteattr(_legal(title))}>'
    return "\n".join([head, f"<style>{_STYLE}</style>", *body, "</svg>", ""])


@dataclass(frozen=True)
class _Axis:
    """The time axis from 0 to ``end`` seconds."""

    end: float

    def x(self, seconds: float) -> float:
        """Return the position of a time."""
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max(seconds, 0), self.end) / self.end

    def grid(self, height: float) -> Iterator[str]:
        """Yield the ticks with their labels and lines."""
        step = _tick(self.end)
        for number in range(int(self.end / step) + 1):
            x = self.x(number * step)
            yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 12}" y2="{height - _ROW:.0f}"/>'
            yield _text(x, _TOP - 18, f"{number * step:g} s", "small", anchor="middle" if number else "start")

    def bar(self, bar: Bar, y: float) -> list[str]:
        """Return a bar with its label, which is where there is room: right of the bar, left of it, or inside."""
        left, right = self.x(bar.start), self.x(bar.end)
        time = f"at {bar.start:.2f} s" if bar.style == "error" else f"{bar.end - bar.start:.2f} s"
        label = f"{_short(bar.label)} ({time})"
        width = len(label) * _CHARACTER
        hint = f"<title>{escape(_legal(bar.label))}: {bar.start:.2f} s to {bar.end:.2f} s</title>"
        place = f'x="{left:.1f}" y="{y + 2:.1f}" width="{max(right - left, 1.5):.1f}" height="{_BAR}" rx="2"'
        rect = f'<rect class="{bar.style}" {place}>{hint}</rect>'
        if right + 6 + width <= _WIDTH:
            return [rect, _text(right + 6, y + 13, label)]
        if left - 6 - width >= 0:
            return [rect, _text(left - 6, y + 13, label, anchor="end")]
        return [rect, _text(left + 6, y + 13, label)]

    def mark(self, finding: Finding, height: float) -> str:
        """Return a line at the time of an error."""
        x = self.x(finding.seconds)
        hint = f"<title>{escape(_legal(str(finding)))}</title>"
        return f'<line class="error" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 12}" y2="{height - _ROW:.0f}">{hint}</line>'


def _tick(end: float) -> float:
    """Return the distance of ticks: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(end / _TICKS))
    return next(power * factor for factor in (1, 2, 5, 10) if end / (power * factor) <= _TICKS)


def _text(x: float, y: float, text: str, style: str = "", anchor: str = "start") -> str:
    attributes = f' class="{style}"' if style else ""
    attributes += f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{escape(_legal(text))}</text>'


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _legal(text: str) -> str:
    """Return the text without characters that XML does not permit."""
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)
