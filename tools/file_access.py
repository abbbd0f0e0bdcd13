"""Find where Stagewright opens, reads and changes files, to check that no link of a stranger is followed.

    python -m tools.file_access           what breaks the rule: functions that no list has, and entries of no function
    python -m tools.file_access --all     every access outside of roots, by function

A root, an unpacked archive, a repository or a medium was written by others. In the packages that work with them, files
are reached in three ways only:

- by ``confined.Tree`` and by ``trees``, which follow no link out of a folder;
- by functions that ``chroot.inside`` calls, and the functions of their module that these call;
- directly, in functions that only work on files of this machine's users and of Stagewright itself.
  ``file_access.toml`` lists these functions, with whose files they are.

A call on a path of a root (``root.path``, ``root.upper``) or of a result is reported, also in listed functions, if its
text shows what the path is. This is a lint: a path that a listed function keeps in another variable passes.
Inside a root, files are opened by ``untrusted``, because a pipe would block and a device would never end. The list
``content`` has the functions that open files that they have made or looked at.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "stagewright"
LIST = ROOT / "tools" / "file_access.toml"
PACKAGES = ("root", "kinds", "seeds", "media", "portage", "kernel", "engine", "dropin", "store")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


METHODS = _words(
    "read_text read_bytes write_text write_bytes open touch unlink rename replace chmod mkdir rmdir symlink_to "
    "hardlink_to iterdir glob rglob stat lstat exists is_file is_dir is_symlink readlink samefile walk"
)
"""Methods of pathlib that reach files."""

FUNCTIONS = {
    "os": _words(
        "open stat lstat walk fwalk scandir listdir mkdir makedirs unlink rename replace renames link symlink readlink "
        "chmod chown lchown utime remove removedirs rmdir truncate access mkfifo mknod setxattr getxattr listxattr "
        "statvfs chdir"
    ),
    "os.path": _words("exists lexists isdir isfile islink getsize getmtime realpath samefile ismount"),
    "shutil": _words("copy copy2 copyfile copymode copystat copytree move rmtree chown make_archive unpack_archive"),
}
"""Functions that reach files, by module."""

_NAMES = METHODS.union(*FUNCTIONS.values())

CONTENT = _words("open read_text read_bytes write_text write_bytes copy copy2 copyfile copytree")
"""Calls that open files. Inside a root, a pipe or a device there could block them, or never end."""

_OF_ROOT = re.compile(r"\b(?:root|target|tree)\.(?:path|upper)\b|\bself\.root\.path\b|\.artifact\(|\bstore\.tree\(")

_NOT_PATHS = frozenset({"re", "archive", "tarfile", "webbrowser", "gzip", "lzma"})


@dataclass(frozen=True)
class Access:
    """One call that reaches files: its module and function, its line, and the name of the call."""

    module: str
    function: str
    line: int
    call: str
    of_root: bool = False  # True if the path is one of a root or of a result, as the text of the call shows

    def __str__(self) -> str:
        return f"src/stagewright/{self.module}.py:{self.line}: {self.function}: {self.call}"

    @property
    def where(self) -> str:
        """The function, as ``file_access.toml`` names it."""
        return f"{self.module}:{self.function}"


class Module:
    """One module, with its functions by name (``Class.method``, ``function``, or ``-`` for the top)."""

    def __init__(self, path: Path) -> None:
        self.name = str(path.relative_to(SOURCE).with_suffix(""))
        self.tree = ast.parse(path.read_text(encoding="utf-8"))

    @cached_property
    def functions(self) -> dict[str, ast.AST]:
        """The functions and methods; those that are defined in another function belong to that."""
        found: dict[str, ast.AST] = {}
        for node in self.tree.body:
            if isinstance(node, ast.FunctionDef):
                found[node.name] = node
            elif isinstance(node, ast.ClassDef):
                found |= {f"{node.name}.{one.name}": one for one in node.body if isinstance(one, ast.FunctionDef)}
        return found

    def accesses(self) -> Iterator[Access]:
        """Yield all calls that reach files."""
        seen: set[ast.AST] = set()
        for name, function in self.functions.items():
            for node in ast.walk(function):
                seen.add(node)
                if (call := _file_call(node)) and not self._is_function(node):
                    yield Access(self.name, name, getattr(node, "lineno", 0), call, _is_of_root(node))
        for node in ast.walk(self.tree):
            if node not in seen and (call := _file_call(node)) and not self._is_function(node):
                yield Access(self.name, "-", getattr(node, "lineno", 0), call, _is_of_root(node))

    def _is_function(self, call: ast.AST) -> bool:
        """Return True if a call is one of a function in an imported module, such as ``files.exists``."""
        function = getattr(call, "func", None)
        return isinstance(function, ast.Attribute) and _name(function.value) in self.imported

    @cached_property
    def imported(self) -> dict[str, str]:
        """Imports from Stagewright: ``module`` or ``module:name``, by their names in this module."""
        found = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stagewright"):
                base = "/".join((node.module or "").split(".")[1:])
                for alias in node.names:
                    whole = f"{base}/{alias.name}".lstrip("/")
                    is_module = (SOURCE / f"{whole}.py").exists()
                    found[alias.asname or alias.name] = whole if is_module else f"{base}:{alias.name}"
        return found

    def meant(self, name: str) -> set[str]:
        """Return the functions (``module:function``) that a name in a call of this module can mean."""
        owner, _, last = name.rpartition(".")
        if not owner:
            target = self.imported.get(last, f"{self.name}:{last}")
            return {target} if ":" in target else set()
        if owner in self.imported:
            target = self.imported[owner]
            return {f"{target}.{last}" if ":" in target else f"{target}:{last}"}
        return {f"{self.name}:{full}" for full in self.functions if full.rpartition(".")[2] == last and "." in full}

    def given_to_inside(self) -> set[str]:
        """Return the functions that this module runs inside a root."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and _name(node.func).rpartition(".")[2] == "inside" and len(node.args) > 1:
                found |= self.meant(_name(node.args[1]))
        return found

    def called_by(self, function: str) -> set[str]:
        """Return the functions that a function of this module can call."""
        calls = [node for node in ast.walk(self.functions[function]) if isinstance(node, ast.Call)]
        return set().union(*(self.meant(_name(call.func)) for call in calls))


def _name(node: ast.AST) -> str:
    return ast.unparse(node) if isinstance(node, (ast.Name, ast.Attribute)) else ""


def _is_of_root(call: ast.AST) -> bool:
    """Return True if the path of a call is written with that of a root or of a result."""
    function, words = getattr(call, "func", None), getattr(call, "args", [])
    path = function.value if isinstance(function, ast.Attribute) else None
    return any(_OF_ROOT.search(ast.unparse(one)) for one in (path, *words[:2]) if one is not None)


def _file_call(node: ast.AST) -> str:
    """Return the name of a call that reaches files, or ""."""
    if not isinstance(node, ast.Call):
        return ""
    if isinstance(node.func, ast.Name):
        return "open" if node.func.id == "open" else ""
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in _NAMES:
        return ""
    owner, name = ast.unparse(node.func.value), node.func.attr
    if owner in FUNCTIONS:
        return f"{owner}.{name}" if name in FUNCTIONS[owner] else ""
    fits = name in METHODS and owner not in _NOT_PATHS and not (name == "replace" and len(node.args) != 1)
    return f".{name}" if fits else ""


def modules() -> list[Module]:
    """Return the modules of the packages that work with trees of others."""
    return [
        Module(path)
        for package in PACKAGES
        for path in sorted((SOURCE / package).rglob("*.py"))
        if "data" not in path.relative_to(SOURCE).parts
    ]


def inside_functions(found: list[Module]) -> set[str]:
    """Return the functions that run inside roots: those given to ``inside``, and all that they can call."""
    known = {module.name: module for module in found}
    waiting = set().union(*(module.given_to_inside() for module in found))
    seen: set[str] = set()
    while waiting:
        where = waiting.pop()
        module, _, function = where.partition(":")
        if where not in seen and module in known and function in known[module].functions:
            seen.add(where)
            waiting |= known[module].called_by(function)
    return seen


def problems() -> list[str]:
    """Return a line for each access that no list has, and for each entry of a list that no access needs."""
    listed = {name: set(group["functions"]) for name, group in tomllib.loads(LIST.read_text(encoding="utf-8")).items()}
    content = listed.pop("content")
    direct = set().union(*listed.values())
    found = modules()
    inside = inside_functions(found)
    said, used = [], set[str]()
    for access in (access for module in found for access in module.accesses()):
        opens = access.call.rpartition(".")[2] in CONTENT
        if access.of_root and access.where not in inside:
            said.append(f"{access}: a path of a root is used directly; use confined.Tree or chroot.inside")
        if access.where in inside and opens:
            used.add(access.where)
            if access.where not in content:
                said.append(f"{access}: a file of a root is opened; use untrusted.open_regular, or add it to `content`")
        elif access.where not in inside:
            used.add(access.where)
            if access.where not in direct:
                said.append(f"{access}: use confined.Tree, or say in {LIST.name} whose files these are")
    twice = [where for where in direct if sum(where in names for names in listed.values()) > 1]
    return [
        *said,
        *(f"{where}: listed, but it does not reach files" for where in sorted((direct | content) - used)),
        *(f"{where}: listed twice" for where in sorted(twice)),
    ]


def main(words: list[str]) -> int:
    """Print what breaks the rule, or with ``--all`` every access outside of roots."""
    found = modules()
    inside = inside_functions(found)
    lines = problems()
    if words == ["--all"]:
        lines = [str(access) for module in found for access in module.accesses() if access.where not in inside]
    print("\n".join(lines))
    return 0 if words or not lines else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
