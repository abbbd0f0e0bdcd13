"""The chart of a boot, and units of systemd on a console."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest

from stagewright.vm.boot_chart import (
    MOST_UNITS,
    Bar,
    Group,
    chart,
    error_bars,
    parts_of_boot,
    unit_bars,
)
from stagewright.vm.console_lines import Line, read_lines
from stagewright.vm.console_scan import Finding
from stagewright.vm.units import Unit, units_of

SVG = "{http://www.w3.org/2000/svg}"
CONSOLES = Path(__file__).parents[2] / "data/consoles"


def svg(groups: list[Group], findings: list[Finding] | None = None) -> ET.Element:
    return ET.fromstring(chart("test", groups, findings or []))


def texts(root: ET.Element) -> list[str]:
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def finding(seconds: float, text: str = "I/O error, dev sr0") -> Finding:
    return Finding(7, seconds, text, "a disk returned an error", "look", "storage")


def test_the_parts_of_a_boot_follow_each_other() -> None:
    milestones = {"firmware": 2.0, "kernel": 8.0, "initramfs": 11.0, "switch-root": 28.0, "login prompt": 29.0}
    bars = parts_of_boot(milestones, 31.5)
    assert [(bar.label, bar.start, bar.end) for bar in bars] == [
        ("firmware and loader", 0.0, 8.0),
        ("kernel", 8.0, 11.0),
        ("initramfs", 11.0, 28.0),
        ("system", 28.0, 31.5),
    ]
    assert [bar.label for bar in parts_of_boot({"kernel": 3.0}, 5.0)] == ["firmware and loader", "kernel"]
    assert parts_of_boot({}, 5.0) == [Bar("firmware and loader", 0.0, 5.0, "part")]


def test_texts_of_guests_are_escaped_and_there_are_no_scripts() -> None:
    evil = '</text><script>alert("x")</script>\x1b[31m\x00\ufffe&'
    text = chart(evil, [Group(evil, [Bar(evil, 0, 1, "step")])], [finding(0.5, evil)])
    root = ET.fromstring(text)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == {
        "svg",
        "style",
        "rect",
        "line",
        "text",
        "title",
    }
    assert not any(name.startswith("on") or "href" in name for element in root.iter() for name in element.attrib)
    assert "url(" not in text
    assert sum('<script>alert("x")</script>' in one for one in texts(root)) == 3


def test_labels_stay_inside_the_picture_and_bars_keep_their_order() -> None:
    bars = [Bar(f"step {number}", number, number + 1, "step") for number in range(30)]
    root = svg([Group("steps", bars), Group("nothing", [])])
    assert "nothing" not in texts(root)
    width = float(root.get("width", "0"))
    labels = [text for text in root.iter(f"{SVG}text") if (text.text or "").startswith("step ")]
    for label in labels:
        x, size = float(label.get("x", "0")), 6.2 * len(label.text or "")
        assert (x - size if label.get("text-anchor") == "end" else x) >= 0
        assert (x if label.get("text-anchor") == "end" else x + size) <= width
    rects = [float(rect.get("x", "0")) for rect in root.iter(f"{SVG}rect")][1:]
    assert all(left < right for left, right in pairwise(rects))


@pytest.mark.parametrize("end", [0.004, 0.7, 1.0, 9.99, 42.0, 600.0, 86400.0])
def test_the_axis_has_two_to_eleven_ticks(end: float) -> None:
    ticks = [text for text in texts(svg([Group("a", [Bar("b", 0, end, "part")])])) if text.endswith(" s")]
    assert ticks[0] == "0 s"
    assert 2 <= len(ticks) <= 11


def test_a_chart_of_nothing_is_a_valid_file() -> None:
    assert texts(svg([])) == ["test", *texts(svg([]))[1:]]


def test_errors_have_a_line_and_a_name() -> None:
    found = [finding(float(number)) for number in range(20)]
    root = svg([Group("errors on the console", error_bars(found))], found)
    assert len([line for line in root.iter(f"{SVG}line") if line.get("class") == "error"]) == 20
    assert "a disk returned an error (at 3.00 s)" in texts(root)


def test_units_of_a_console_of_systemd() -> None:
    lines = read_lines((CONSOLES / "systemd-container.timed.log").read_text(encoding="utf-8"))
    units = {unit.name: unit for unit in units_of(lines)}
    assert "systemd-networkd.service" in units
    assert not units["systemd-networkd.service"].failed
    assert all(unit.end >= unit.start for unit in units.values())


def test_a_unit_without_description_and_a_failed_unit_are_found() -> None:
    lines = [
        Line(1, 1.0, "         Starting Network Time Synchronization..."),
        Line(2, 2.5, "[  OK  ] Started Network Time Synchronization."),
        Line(3, 3.0, "[  OK  ] Started getty@tty1.service - Getty on tty1."),
        Line(4, 4.0, "[FAILED] Failed to start sshd.service - OpenSSH server daemon."),
    ]
    assert units_of(lines) == [
        Unit("Network Time Synchronization", 1.0, 2.5),
        Unit("sshd.service", 4.0, 4.0, failed=True),
    ]


def test_a_chart_has_the_longest_units_and_the_failed_ones() -> None:
    units = [Unit(f"u{number}", 0.0, number / 10) for number in range(100)] + [Unit("bad", 1.0, 1.0, failed=True)]
    labels = [bar.label for bar in unit_bars(units)]
    assert len(labels) == MOST_UNITS
    assert {"bad", "u99"} <= set(labels)
    assert "u3" not in labels
