"""The entries of a GRUB menu, found by running its script as far as a reader can.

A variable has the value of the last ``set`` before its use. All branches of conditions are followed, since conditions
depend on the machine. A variable that is never set stays in the arguments as ``${name}``; as the start of a path it
stands for a device and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from stagewright.media.bootmenu.entry import (
    DEEPEST_INCLUDE,
    LONGEST_FILE,
    LONGEST_MENU,
    MOST_ENTRIES,
    FoundEntry,
    Read,
    medium_path,
)
from stagewright.media.bootmenu.grub_script import Command, Function, Loop, Statement, Word, parse

KERNEL_COMMANDS = frozenset({"linux", "linux16", "linuxefi", "linux32"})
INITRD_COMMANDS = frozenset({"initrd", "initrd16", "initrdefi", "initrd32"})
XEN_KERNEL_COMMANDS = frozenset({"multiboot", "multiboot2"})
MODULE_COMMANDS = frozenset({"module", "module2"})
INCLUDE_COMMANDS = frozenset({"source", ".", "configfile", "normal"})

OPTIONS_WITH_VALUE = frozenset({"--class", "--users", "--hotkey", "--source", "--id"})
"""Options of ``menuentry`` and ``submenu`` that take the next word (GRUB manual, "menuentry")."""

MOST_STATEMENTS = 20_000
"""Statements that one menu may run, loops and functions included."""

LONGEST_WORD = 1 << 16


def read_grub(path: str, text: str, read: Read) -> list[FoundEntry]:
    """Return the entries of a menu. ``read`` returns other files of the medium, for ``source`` and ``configfile``."""
    run = _Run(read)
    run.file(path, text)
    return run.entries_with_default()


@dataclass
class _Boot:
    """The files that the commands of one entry load, and the kernel arguments."""

    kernel: str = ""
    arguments: str = ""
    initrds: tuple[str, ...] = ()
    is_xen: bool = False


@dataclass
class _Found:
    entry: FoundEntry
    names: frozenset[str]  # by which the variable `default` can choose it: number, title, id


@dataclass
class _Run:
    """One pass over a menu: variables, functions, and the entries found so far."""

    read: Read
    variables: dict[str, str] = field(default_factory=dict)
    functions: dict[str, tuple[Statement, ...]] = field(default_factory=dict)
    found: list[_Found] = field(default_factory=list)
    left: int = MOST_STATEMENTS
    characters: int = LONGEST_MENU
    path: str = ""
    depth: int = 0
    menu: tuple[frozenset[str], ...] = ()  # the names of the submenus around
    counts: dict[tuple[frozenset[str], ...], int] = field(default_factory=dict)

    def file(self, path: str, text: str) -> None:
        """Run a file, at most ``DEEPEST_INCLUDE`` files deep."""
        if self.depth < DEEPEST_INCLUDE:
            before, self.path, self.depth = self.path, path, self.depth + 1
            text = text[: min(LONGEST_FILE, self.characters)]
            self.characters -= len(text)
            self._run(parse(text), None)
            self.path, self.depth = before, self.depth - 1

    def entries_with_default(self) -> list[FoundEntry]:
        """Return the entries; the one that ``set default`` names, or else the first, is marked."""
        wanted = self.variables.get("default", "0")
        chosen = next((one for one in self.found if wanted in one.names), self.found[0] if self.found else None)
        return [replace(one.entry, default=one is chosen) for one in self.found]

    def _run(self, statements: Iterable[Statement], boot: _Boot | None) -> None:
        for statement in statements:
            self.left -= 1
            if self.left < 0:
                return
            if isinstance(statement, Function):
                self.functions[statement.name] = statement.block
            elif isinstance(statement, Loop):
                for value in self._expand(statement.words):
                    self.variables[statement.name] = value
                    self._run(statement.block, boot)
            else:
                self._command(statement, boot)

    def _command(self, command: Command, boot: _Boot | None) -> None:
        words = self._expand(command.words)
        if not words:
            return
        name, values = words[0], words[1:]
        if command.block is not None:
            if name in ("menuentry", "submenu"):
                self._item(values, command.block, is_menu=name == "submenu")
        elif name in ("set", "export") or _ASSIGNMENT.match(name):
            self._set(values if name in ("set", "export") else words)
        elif name in INCLUDE_COMMANDS:
            self._include(values)
        elif name in self.functions:
            self._call(name, values, boot)
        elif boot is not None:
            _load(boot, name, values)

    def _item(self, words: list[str], block: tuple[Statement, ...], *, is_menu: bool) -> None:
        title, identity, values = _options(words)
        number = self.counts.get(self.menu, 0)
        self.counts[self.menu] = number + 1
        names = frozenset(filter(None, (str(number), title, identity)))
        with_values = {"1": title, **{str(place): value for place, value in enumerate(values, 2)}}
        outer, outside = self.variables, self.menu
        self.variables = {**outer, **with_values}
        if is_menu:
            self.menu = (*self.menu, names)
            self._run(block, None)
        else:
            self._entry(title, names, block)
        self.menu = outside
        self.variables = {**self.variables, **{name: outer.get(name, "") for name in with_values}}

    def _entry(self, title: str, names: frozenset[str], block: tuple[Statement, ...]) -> None:
        boot = _Boot()
        self._run(block, boot)
        if boot.kernel and len(self.found) < MOST_ENTRIES:
            initrds = tuple(map(_plain, boot.initrds))
            entry = FoundEntry(self.path, title, _plain(boot.kernel), initrds, boot.arguments)
            self.found.append(_Found(entry, frozenset(_choices([*self.menu, names]))))

    def _set(self, words: list[str]) -> None:
        for word in words:
            name, equals, value = word.partition("=")
            if equals:
                self.variables[name] = value[:LONGEST_WORD]

    def _include(self, words: list[str]) -> None:
        if words and (text := self.read(_plain(words[0]))) is not None:
            self.file(_plain(words[0]), text)

    def _call(self, name: str, values: list[str], boot: _Boot | None) -> None:
        if self.depth < DEEPEST_INCLUDE:
            self.depth += 1
            self.variables |= {str(place): value for place, value in enumerate(values, 1)}
            self._run(self.functions[name], boot)
            self.depth -= 1

    def _expand(self, words: Iterable[Word]) -> list[str]:
        found: list[str] = []
        for word in words:
            found += _expanded(word, self.variables)
        return found


_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=", re.ASCII)
_UNKNOWN_DEVICE = re.compile(r"^(?:\([^)]*\)|\$\{\w+\})")


def _expanded(word: Word, variables: Mapping[str, str]) -> list[str]:
    """Return the words that a word stands for: an unquoted variable may hold several, or none."""
    pieces, quoted = [""], False
    for part in word:
        quoted = quoted or part.quoted
        value = variables.get(part.text, f"${{{part.text}}}") if part.variable else part.text
        first, *more = re.split(r"[ \t\n]+", value) if part.variable and not part.quoted else [value]
        pieces[-1] = (pieces[-1] + first)[:LONGEST_WORD]
        pieces += more
    return [piece for piece in pieces if piece or (quoted and len(pieces) == 1)]


def _options(words: list[str]) -> tuple[str, str, list[str]]:
    """Return title, ``--id`` and further values of a menu entry; options may come before or after the title."""
    plain: list[str] = []
    identity = ""
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if not word.startswith("--"):
            plain.append(word)
        elif name in OPTIONS_WITH_VALUE:
            value = value if equals else next(rest, "")
            identity = value if name == "--id" else identity
    return (plain[0] if plain else ""), identity, plain[1:]


def _load(boot: _Boot, name: str, values: list[str]) -> None:
    """Take the files that a command loads. The first kernel counts, with the initrds of the first ``initrd``."""
    values = [value for number, value in enumerate(values) if number or not value.startswith("--")]
    if not values:
        return
    if name in KERNEL_COMMANDS and not boot.kernel:
        boot.kernel, boot.arguments = values[0], " ".join(values[1:])
    elif name in INITRD_COMMANDS and not boot.initrds:
        boot.initrds = tuple(values)
    elif name in XEN_KERNEL_COMMANDS:
        boot.is_xen = True
    elif name in MODULE_COMMANDS and boot.is_xen:  # Xen's first module is the kernel, its second the initramfs
        if not boot.kernel:
            boot.kernel, boot.arguments = values[0], " ".join(values[1:])
        elif not boot.initrds:
            boot.initrds = (values[0],)


def _plain(path: str) -> str:
    """Return a path on the medium, without a device or a variable that holds one."""
    return medium_path(_UNKNOWN_DEVICE.sub("", path))


def _choices(levels: list[frozenset[str]]) -> Iterator[str]:
    """Yield the values of ``default`` that choose an entry: its names, with those of its submenus before ``>``."""
    found = [""]
    for names in levels:
        found = [f"{before}>{name}" if before else name for before in found for name in names]
    yield from found
