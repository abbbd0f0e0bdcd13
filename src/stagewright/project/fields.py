"""Types of values that models share: atoms, names of other entries, paths of project files.

A marker in the type declares what a value is. Checks, graph edges, file digests and the schema follow from this one
declaration in the model.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import PydanticCustomError, core_schema

from stagewright.graph.given import Given, NotInKey, markers
from stagewright.graph.node import Yields
from stagewright.lazy_dataclass import dataclass
from stagewright.lazy_pattern import lazy_pattern
from stagewright.project.forms import Form
from stagewright.project.names import NAME
from stagewright.project.source import KeyPath


class Section(Given):
    """Base of every model that is read from a project file. Unknown keys and values of another type are errors.

    Strict mode rejects a text if the type is an enumeration: write this field as ``Annotated[AnEnum, ByValue()]``.
    Every field for a list of texts accepts one text in place of a list with one item.
    """

    model_config = ConfigDict(strict=True)

    @model_validator(mode="before")
    @classmethod
    def _one_text_is_a_list(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        texts = {name: data[name] for name in text_lists(cls) if isinstance(data.get(name), str)}
        return {**data, **{name: [text] for name, text in texts.items()}} if texts else data


@functools.cache
def text_lists(model: type[BaseModel]) -> frozenset[str]:
    """Return the keys of a model whose value is a list of texts, and cannot be a text or a table."""
    fields = model.model_fields.items()
    return frozenset(info.alias or name for name, info in fields if _is_text_list(info.annotation))


def _is_text_list(annotation: Any) -> bool:
    arguments = [one for one in getattr(annotation, "__args__", ()) if one is not type(None)]
    if get_origin(annotation) in (Union, UnionType):
        return all(map(_is_text_list, arguments))
    if get_origin(annotation) is Annotated:
        return _is_text_list(arguments[0])
    return get_origin(annotation) is list and _is_text(arguments[0])


def _is_text(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return _is_text(annotation.__args__[0])
    if get_origin(annotation) is Literal:
        return all(isinstance(word, str) for word in annotation.__args__)
    return isinstance(annotation, type) and issubclass(annotation, str)


def section_of(annotation: Any) -> type[Section] | None:
    """Return the section model in a field's type: the type itself, or inside a list, mapping or union."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(section_of, getattr(annotation, "__args__", ()))), None)


def complete(model: type[Section], within: frozenset[type[Section]] = frozenset()) -> None:
    """Make the validators of a model, those of its sections first: pydantic makes each once then, not once a place.

    Sections can contain each other. ``within`` are the models whose sections are being completed.
    """
    if model.__pydantic_complete__ or model in within:
        return
    for info in model.model_fields.values():
        section = section_of(info.annotation)
        if section:
            complete(section, within | {model})
    model.model_rebuild()


def ByValue() -> Any:  # noqa: N802  reads like pydantic's Field
    """Mark a field whose type is an enumeration: files hold the value of the member."""
    return Field(strict=False)


@dataclass(frozen=True)
class Ref:
    """Marker of a value that names an entry of one of these tables (``stages``, ``seeds``, ``repos``, ``binhosts``).

    ``yields`` is the required result of that entry: a root, or files. ``forms`` are the forms that its files may have;
    empty for any.
    """

    tables: tuple[str, ...]
    yields: Yields | None = None
    forms: tuple[Form, ...] = ()


@dataclass(frozen=True)
class NodeRef(Ref, NotInKey):
    """Marks a value that names a stage or seed. The node of that entry becomes an input."""


UNKNOWN = "?"
"""Stands for the name in a required reference that is missing or invalid. No entry has this name."""


@dataclass(frozen=True)
class ProjectFile:
    """Marker of a path of a file or folder, relative to the project."""

    folder: bool | None = None  # True: must be a folder, False: must be a file, None: either
    inline: str = ""
    """Pattern of texts that are the content of the file, in place of its path."""

    def is_inline(self, value: str) -> bool:
        """Return True if a text is the content, and no path."""
        return bool(self.inline and re.search(self.inline, value))


@dataclass(frozen=True)
class FromRepos:
    """Marker of an atom whose package must exist in a repository."""


@dataclass(frozen=True)
class Matching:
    """Marker of a text that must match a pattern completely. ``what`` describes the text in hints."""

    pattern: str
    what: str
    corrected: Callable[[str], str] | None = None
    """Returns the correct spelling of an invalid text, or ""."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "pattern": f"^(?:{self.pattern})$"}

    def _check(self, value: str) -> str:
        if re.fullmatch(self.pattern, value, re.ASCII):
            return value
        correct = self.corrected(value) if self.corrected else ""
        hint = f'write "{correct}", or {self.what}' if correct and correct != value else f"write {self.what}"
        facts = {"value": f'"{value}"', "hint": hint}
        raise PydanticCustomError("matching", "invalid value {value}", facts)


def check_pattern(text: str) -> str:
    """Return a valid regular expression. Raises PydanticCustomError ``pattern`` with a hint for anything else."""
    try:
        re.compile(text)
    except re.error as error:
        hint = r"write \ before each of . ^ $ * + ? { } [ ] | ( ) that stands for itself, in single quotes: '\['"
        facts = {"text": f'"{text}"', "problem": error.msg, "hint": hint}
        raise PydanticCustomError("pattern", "invalid regular expression {text} ({problem})", facts) from None
    return text


Pattern = Annotated[str, AfterValidator(check_pattern)]
"""A regular expression."""


# Names and versions of the Package Manager Specification (PMS 8, sections 3.1, 3.2 and 8.3).
_NAME = r"[A-Za-z0-9_][A-Za-z0-9+_-]*"
_CATEGORY = r"[A-Za-z0-9_][A-Za-z0-9+_.-]*"
_VERSION = r"\d+(?:\.\d+)*[a-z]?(?:_(?:alpha|beta|pre|rc|p)\d*)*(?:-r\d+)?"
_FLAG = r"[A-Za-z0-9][A-Za-z0-9+_@-]*(?:\([+-]\))?"
_USE = rf"(?:-?{_FLAG}|!?{_FLAG}[=?])"
_SLOT_NAME = r"[A-Za-z0-9_][A-Za-z0-9+_.-]*"
_SLOT = rf":(?:\*|=|{_SLOT_NAME}(?:/{_SLOT_NAME})?=?)"
_TAIL = rf"(?:{_SLOT})?(?:::[A-Za-z0-9_][A-Za-z0-9_-]*)?(?:\[{_USE}(?:,{_USE})*\])?"
_PLAIN = lazy_pattern(rf"(?P<category>{_CATEGORY})/(?P<name>{_NAME}){_TAIL}", re.ASCII)
_VERSIONED = lazy_pattern(
    rf"(?P<operator>[<>]=?|=|~)(?P<category>{_CATEGORY})/(?P<name>{_NAME}?)-{_VERSION}(?P<glob>\*)?{_TAIL}", re.ASCII
)
_ENDS_IN_VERSION = lazy_pattern(rf".*-{_VERSION}", re.ASCII)
_SET = lazy_pattern(r"@[A-Za-z0-9_][A-Za-z0-9_.-]*")


def check_atom(value: str) -> str:
    """Return a valid package atom or set. Raises PydanticCustomError ``bad_atom`` with a hint for anything else."""
    if _SET.fullmatch(value):
        return value
    found = _VERSIONED.fullmatch(value)
    fits = not found or found["operator"] == "=" or not found["glob"]
    found = found or _PLAIN.fullmatch(value)
    if found and fits and not _ENDS_IN_VERSION.fullmatch(found["name"]):
        return value
    facts = {"value": repr(value), "hint": _atom_hint(value)}
    raise PydanticCustomError("bad_atom", "{value} is not a package atom", facts)


def package_of(atom: str) -> str | None:
    """Return the package (category/name) of an atom, or None for a set."""
    found = _VERSIONED.fullmatch(atom) or _PLAIN.fullmatch(atom)
    return f"{found['category']}/{found['name']}" if found else None


def _atom_hint(value: str) -> str:
    if re.search(r"\s", value):
        return 'write each package as one text, without spaces: ["app-misc/a", "app-misc/b"]'
    if "/" not in value:
        return "the category is missing: write category/package"
    if value.count("[") != value.count("]"):
        return "close the bracket"
    if _VERSIONED.fullmatch(f"={value}"):
        return f"a version needs an operator: write ={value}"
    if value[0] in "<>=~" and not re.search(r"-\d", value):
        return "add a version, or remove the operator"
    if (versioned := _VERSIONED.fullmatch(value)) and versioned["glob"]:
        return "'*' is only allowed with the = operator"
    return "write category/package, >=category/package-1.2, category/package:slot[use] or @set"


AnyAtom = Annotated[str, AfterValidator(check_atom)]
"""A package atom in emerge's syntax (PMS 8.3), or a ``@set``."""

Atom = Annotated[AnyAtom, FromRepos()]
"""An atom of a package to install."""

RootRef = Annotated[str, NodeRef(("stages", "seeds"), Yields.LAYER)]
"""Name of a stage or seed whose result is a root."""

StageRef = Annotated[str, NodeRef(("stages",), Yields.LAYER)]
"""Name of a stage whose result is a root."""

FilesRef = Annotated[str, NodeRef(("stages",), Yields.ARTIFACT)]
"""Name of a stage whose result is files: an image, a payload."""

ImageRef = Annotated[str, NodeRef(("stages",), Yields.ARTIFACT, (Form.ISO, Form.DISK))]
"""Name of a stage whose result is an ISO or disk image."""

DiskRef = Annotated[str, NodeRef(("stages",), Yields.ARTIFACT, (Form.DISK,))]
"""Name of a stage whose result is a disk image."""

NetworkSetRef = Annotated[str, NodeRef(("stages",), Yields.ARTIFACT, (Form.NETWORK_SET,))]
"""Name of a stage whose result is a set for network boot."""

RepoRef = Annotated[str, Ref(("repos",))]
"""Name of an ebuild repository of the project."""

WEB = Matching(r"https?://[^\s/@]+(/[^\s@]*)?", "an http:// or https:// address without a password")

BinhostRef = Annotated[str, Ref(("binhosts",))]
"""Name of a binary package host of the project."""

TestRef = Annotated[str, NodeRef(("tests",))]
"""Name of a test of the project."""

FolderPath = Annotated[str, ProjectFile(folder=True)]
"""Path of a folder, relative to the project."""

FilePath = Annotated[str, ProjectFile(folder=False)]
"""Path of a file, relative to the project."""

SecretPath = Annotated[str, Matching(r"(/|~/).+", "an absolute path outside of the project, like ~/keys/binhost.asc")]
"""Path of a secret file. Stagewright reads it when it is needed, and copies it neither into keys nor into the store."""

Minutes = Annotated[float, Field(gt=0)]


FileStem = Annotated[str, Field(pattern=NAME)]
"""The name of a file that a stage makes, without its suffix."""


def marked(model: BaseModel, marker: type) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    """Yield the path, marker and value of each value whose type has a marker, also in lists and nested sections."""
    for name, marks in _marked_fields(type(model), marker):
        value = getattr(model, name)
        for path, section in _sections(value):
            yield from (((name, *path, *rest), mark, item) for rest, mark, item in marked(section, marker))
        for mark in marks:
            items = (
                [((), value)] if isinstance(value, str) else _items(value) if isinstance(value, (list, tuple)) else ()
            )
            yield from (((name, *rest), mark, item) for rest, item in items if not _is_inline(mark, item))


def marked_values(model: type[BaseModel], data: Mapping[str, Any], marker: type) -> Iterator[tuple[KeyPath, Any, str]]:
    """Yield the path, marker and value of each text of a table whose type in the model has a marker.

    The table need not be valid: values of another type are skipped.
    """
    for name, marks in _marked_fields(model, marker):
        info = model.model_fields[name]
        key = info.alias or name
        value, section = data.get(key), section_of(info.annotation)
        for path, table in _tables(value, section) if section else ():
            found = marked_values(section, table, marker) if section else ()
            yield from (((key, *path, *rest), mark, text) for rest, mark, text in found)
        for mark in marks:
            items = _items(value) if isinstance(value, list) else [((), value)]
            texts = [(rest, item) for rest, item in items if isinstance(item, str) and not _is_inline(mark, item)]
            yield from (((key, *rest), mark, item) for rest, item in texts)


def _tables(value: Any, section: type[Section]) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """Yield the path of each table for a section in a value: the value itself, or inside a list or mapping."""
    items: list[tuple[KeyPath, Any]] = []
    if isinstance(value, list):
        items = [((number,), item) for number, item in enumerate(value)]
    elif isinstance(value, dict):
        known = {info.alias or name for name, info in section.model_fields.items()}
        items = [((), value)] if known & value.keys() else [((name,), item) for name, item in value.items()]
    yield from ((path, item) for path, item in items if isinstance(item, dict))


def _is_inline(mark: Any, value: Any) -> bool:
    return isinstance(mark, ProjectFile) and isinstance(value, str) and mark.is_inline(value)


def _items(value: Any) -> Iterator[tuple[KeyPath, Any]]:
    """Yield the path and value of each item of a list and of the lists in it."""
    for number, item in enumerate(value):
        if isinstance(item, (list, tuple)):
            yield from (((number, *path), inner) for path, inner in _items(item))
        else:
            yield (number,), item


def _sections(value: Any) -> Iterator[tuple[tuple[str | int, ...], BaseModel]]:
    """Yield the path and model of each section in a value: the value itself, or inside a list or mapping."""
    if isinstance(value, BaseModel):
        yield (), value
    elif isinstance(value, (list, tuple)):
        yield from (((number,), item) for number, item in enumerate(value) if isinstance(item, BaseModel))
    elif isinstance(value, Mapping):
        yield from (((name,), item) for name, item in value.items() if isinstance(item, BaseModel))


@functools.cache
def _marked_fields(model: type[BaseModel], marker: type) -> list[tuple[str, list[Any]]]:
    """Return the fields of a model that have a marker or contain sections, each with its markers."""
    found: dict[str, list[Any]] = markers(model, marker)
    fields = model.model_fields.items()
    return [(name, found.get(name, [])) for name, info in fields if name in found or _holds_section(info.annotation)]


def _holds_section(annotation: Any) -> bool:
    if isinstance(annotation, type):
        return issubclass(annotation, BaseModel)
    return any(map(_holds_section, getattr(annotation, "__args__", ())))
