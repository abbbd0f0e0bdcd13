"""Find turns of phrase that this project does not use, and lines of documentation that are too long.

    python -m tools.language              the whole repository
    python -m tools.language PATH...      these files and folders

`tools/language.toml` lists the turns, with what to write instead. Checked are docstrings, comments,
messages and the names of functions and classes in Python; whole files elsewhere, without code between backticks and
in blocks. The text of a file is kept at its offsets and everything else is blanked, so a match has its line.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
AREAS = ("src", "docs", "examples", "bench", "tests", "tools", "packages", ".ci")
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile")
TEXT = {".md", ".toml", ".sh", ".spec", ".conf", ".cfg", ".config", ".ipxe", ".ebuild", ".eclass", ".txt", ""}
WIDTH = 100
"""Columns of a line of prose in documentation."""

BLANK = "\0"
START = "\x01"
"""In the blanked text: code; the beginning of a docstring."""


@dataclass(frozen=True)
class Turn:
    """A turn of phrase: the pattern that finds it, and what to write instead."""

    pattern: re.Pattern[str]
    instead: str


@dataclass(frozen=True)
class Rules:
    """The content of `language.toml`."""

    turns: tuple[Turn, ...]
    allowed: tuple[str, ...]
    """Sentences, mostly of other programs, in which a turn may stand."""
    skipped: frozenset[str]
    """Files that are not checked."""
    nouns: frozenset[str]
    """Words with which the docstring of a function does not begin: it is an imperative."""


@dataclass(frozen=True, order=True)
class Finding:
    """One place to correct; the path is relative to the repository."""

    path: str
    line: int
    found: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.found!r}: {self.instead}"


@cache
def rules() -> Rules:
    """Read `language.toml`."""
    data = tomllib.loads(Path(__file__).with_name("language.toml").read_text(encoding="utf-8"))
    turns = tuple(_turn(**turn) for turn in data["turn"])
    return Rules(turns, tuple(data["allowed"]), frozenset(data["skipped"]), frozenset(data["nouns"]))


def _turn(find: str, instead: str, *, start: bool = False, case: bool = False) -> Turn:
    pattern = (START + r"\s*" if start else "") + rf"(?<!\w)(?:{find})(?!\w)".replace(" ", r"\s+")
    return Turn(re.compile(pattern, 0 if case else re.IGNORECASE), instead)


def blanked_python(text: str, *, messages: bool) -> str:
    """Return the prose of a Python module at its offsets: docstrings, comments, names, and on request messages."""
    lines = [0]
    for line in text.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    kept = [char if char.isspace() else BLANK for char in text]
    fresh, before = True, ""  # a statement begins; the word before
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        start, end = lines[token.start[0] - 1] + token.start[1], lines[token.end[0] - 1] + token.end[1]
        kind, words = tokenize.tok_name[token.type], text[start:end]
        if kind == "COMMENT":
            kept[start:end] = words.replace("#", " ")
        elif kind == "NAME" and before in ("def", "class"):
            kept[start:end] = words.replace("_", " ")
        elif kind == "STRING" and fresh and '"""' in words:
            kept[start:end] = _uncoded(words).replace('"""', f" {START} ", 1).replace('"""', "   ")
        elif kind in ("STRING", "FSTRING_MIDDLE") and messages and " " in words:
            kept[start:end] = _message(words)
        fresh = kind in ("NEWLINE", "INDENT", "DEDENT") or (fresh and kind in ("NL", "COMMENT", "ENCODING"))
        before = words
    return "".join(kept)


def _message(words: str) -> str:
    """Blank the values in a string with a prefix ``f``; quotes become spaces, so that split sentences join."""
    if words[0] in "fF" or words[:2].lower() in ("rf", "fr"):
        words = re.sub(r"\{[^{}]*\}", lambda match: BLANK * len(match[0]), words)
    return re.sub(r"^\w*(\"|')|(\"|')$", lambda match: " " * len(match[0]), words)


def _uncoded(text: str) -> str:
    """Blank what stands between backticks."""
    return re.sub(r"(`+)(?!`)[^`]*\1", lambda match: re.sub(r"\S", BLANK, match[0]), text)


def blanked_page(text: str) -> str:
    """Return the prose of a Markdown page at its offsets."""
    fenced, lines = False, []
    for line in text.splitlines(keepends=True):
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        lines.append(re.sub(r"\S", BLANK, line) if fence or fenced or line.startswith("    ") else line)
    return _uncoded("".join(lines))


def prose(path: Path, text: str) -> str:
    """Return the text of a file with all but its prose blanked."""
    if path.suffix == ".py":
        return blanked_python(text, messages="tests" not in path.parts)
    return blanked_page(text) if path.suffix == ".md" else text.replace("#", " ")


def nominal_docstrings(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and first word of docstrings of functions that are not imperatives; properties are data."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (documentation := ast.get_docstring(node)):
            decorators = {ast.unparse(one).partition("(")[0].rpartition(".")[2] for one in node.decorator_list}
            word = documentation.split()[0]
            if word in rules().nouns and not decorators & {"property", "cached_property"}:
                yield node.body[0].lineno, word


def findings(path: Path) -> Iterator[Finding]:
    """Yield what is to be corrected in a file."""
    name, text = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    words = prose(path, text)
    for sentence in rules().allowed:
        words = words.replace(sentence, BLANK * len(sentence))
    for turn in rules().turns:
        for match in turn.pattern.finditer(words):
            found = " ".join(match[0].replace(START, "").split())
            yield Finding(name, words.count("\n", 0, match.start()) + 1, found, turn.instead)
    if path.suffix == ".py" and "tests" not in path.parts:
        for number, word in nominal_docstrings(text):
            yield Finding(name, number, word, 'begin with an imperative ("Return ...", "Write ...")')
    if path.suffix == ".md":
        for number, line in enumerate(blanked_page(text).splitlines(), 1):
            if len(line) > WIDTH and not line.startswith("|") and BLANK not in line.strip()[:1] and " " in line.strip():
                yield Finding(name, number, f"{len(line)} columns", f"wrap prose at {WIDTH} columns")


def files(*roots: Path) -> Iterator[Path]:
    """Yield the files of folders that have prose of ours, and files that are named."""
    for root in roots:
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            own = path.suffix == ".py" or path.suffix in TEXT
            parts = path.relative_to(ROOT).parts
            foreign = {"out", "licenses", "__pycache__", "data"} & set(parts) and parts[0] in ("tests", "examples")
            egg = any(part.endswith(".egg-info") or part == "__pycache__" for part in parts)
            if path.is_file() and own and not foreign and not egg and str(Path(*parts)) not in rules().skipped:
                yield path


def everything() -> list[Finding]:
    """Return the findings of the whole repository, sorted by place."""
    return sorted(one for path in files(*(ROOT / name for name in (*AREAS, *PAGES))) for one in findings(path))


def main(arguments: list[str]) -> int:
    """Print the findings in the given files and folders, or in the whole repository; return 1 if there are any."""
    chosen = files(*(Path(name).resolve() for name in arguments))
    found = sorted(one for path in chosen for one in findings(path)) if arguments else everything()
    print(*found, sep="\n", end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
