"""Presets of systemd: rules that enable and disable units (systemd.preset(5)).

Services that a project enables and disables are also written as presets. systemd applies presets at the first boot of a
machine and would otherwise enable disabled services again. Everything here runs inside the root.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from stagewright.root import systemd
from stagewright.root.files import names_in
from stagewright.untrusted import read_root_text

FILE = "/etc/systemd/system-preset/00-stagewright.preset"
FOLDERS = tuple(f"{folder}/systemd/system-preset" for folder in ("/etc", "/usr/local/lib", "/usr/lib", "/lib"))
HEADER = "# Written by Stagewright; see systemd.preset(5)."


def write(enable: Sequence[str], disable: Sequence[str], rules: Sequence[str], epoch: int) -> None:
    """Put rules before those that a lower stage has written. The first rule that matches a unit decides."""
    if not (enable or disable or rules):
        return
    old = list(_lines(FILE))
    new = [f"disable {systemd.unit_name(name)}" for name in disable]
    for name in map(systemd.unit_name, enable):
        template = systemd.template_of(name)
        if template is None:
            new.append(f"enable {name}")
        elif not any(line.startswith(f"enable {template} ") for line in new):
            new.append(f"enable {template} {' '.join(_instances(template, enable, old))}")
    lines = dict.fromkeys([*new, *rules, *old])
    Path(FILE).parent.mkdir(parents=True, exist_ok=True)
    with Path(FILE).open("w", encoding="utf-8") as stream:
        stream.write("\n".join([HEADER, *lines]) + "\n")
    os.utime(FILE, (epoch, epoch))


def _instances(template: str, enable: Sequence[str], old: Sequence[str]) -> dict[str, None]:
    """Return all instances of a template to enable. The first rule that matches must name all of them."""
    units = [unit for unit in map(systemd.unit_name, enable) if systemd.template_of(unit) == template]
    found = dict.fromkeys(unit.partition("@")[2].rpartition(".")[0] for unit in units)
    for line in old:
        if line.startswith(f"enable {template} "):
            found.update(dict.fromkeys(line.split()[2:]))
    return found


def _lines(path: str) -> Iterator[str]:
    if not Path(path).exists():
        return
    for line in read_root_text(path, errors="replace").splitlines():
        words = line.split()
        if words and words[0][0] not in "#;":
            yield " ".join(words)


def _rules() -> list[list[str]]:
    """Return all rules in their order of precedence."""
    found: dict[str, str] = {}
    for folder in FOLDERS:
        for name in names_in(folder):
            if name.endswith(".preset"):
                found.setdefault(name, f"{folder}/{name}")
    return [line.split() for name in sorted(found) for line in _lines(found[name])]


def apply_all() -> None:
    """Enable or disable every unit by the presets. Units without a rule are enabled."""
    rules = _rules()
    for name in systemd.all_names():
        unit = systemd.find(name)
        if unit is None or unit.masked or unit.alias_of or not unit.install:
            continue
        verb, *instances = next(
            ([rule[0], *rule[2:]] for rule in rules if len(rule) > 1 and fnmatch.fnmatchcase(name, rule[1])), ["enable"]
        )
        if verb == "disable":
            systemd.disable(name)
        elif verb == "enable":
            for wanted in [name.replace("@.", f"@{instance}.", 1) for instance in instances] or [name]:
                systemd.enable(wanted)
