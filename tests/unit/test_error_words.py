"""Messages for wrong values have the words of TOML, for all settings of all kinds, and none of Python or pydantic."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_origin

import pytest
from pydantic import BaseModel

from stagewright.kinds.registry import kinds
from stagewright.project.fields import Section, section_of
from stagewright.project.tables import Problems, Table
from stagewright.project.top_level import TopLevelTables
from stagewright.project.validate import validate

FORBIDDEN = re.compile(
    r"input should|pydantic|instance|dictionar|\bdict\b|\bstring\b|\bstr\b|\bint\b|integer|\bfloat\b|\bbool|boolean"
    r"|\bNone\b|\btuple|\[key\]|function|Literal|Value error|Errno|Traceback|valid (list|number|integer)|<class"
    r"|\bTrue\b|\bFalse\b|\(\?|\^\[|constrained|list\[",
)
"""Words of Python and pydantic, and of regular expressions."""

WRONG: Mapping[str, Any] = {
    "a number": 3,
    "a negative number": -1,
    "a fraction": 1.5,
    "a switch": True,
    "a text": "n0t that, surely",
    "an empty text": "",
    "a date": datetime.date(2026, 11, 20),
    "a list": [],
    "a list of numbers": [7, [8]],
    "a list of tables": [{"zzz": 1}],
    "a table": {"zzz": 1},
}


def values_at(model: type[BaseModel], prefix: tuple[Any, ...] = (), depth: int = 3) -> Iterator[tuple[Any, ...]]:
    """Paths of all settings of a model, also inside of tables, of lists of tables, and of tables by name."""
    for name, info in model.model_fields.items():
        path = (*prefix, info.alias or name)
        yield path
        inner = section_of(info.annotation)
        if inner and depth:
            origins = {get_origin(one) for one in (info.annotation, *getattr(info.annotation, "__args__", ()))}
            step: tuple[Any, ...] = (0,) if list in origins else ("name",) if dict in origins else ()
            yield from values_at(inner, (*path, *step), depth - 1)


def table_with(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A table that has a value at a path."""
    for step in reversed(path):
        value = [value] if step == 0 else {step: value}
    return dict(value)


MODELS = {f"{table} {kind}": model for table, models in kinds().items() if table for kind, model in models.items()}
MODELS["top"] = TopLevelTables


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_no_setting_of_any_kind_answers_in_words_of_python(kind: str) -> None:
    model: type[Section] = MODELS[kind]
    bad = []
    for path in values_at(model):
        for what, value in WRONG.items():
            problems: Problems = []
            validate(model, Table(table_with(path, value)), "stage", problems)
            for problem in problems:
                text = f"{problem.message} | {problem.hint}"
                if FORBIDDEN.search(text) or not problem.hint or not problem.message[:1].strip():
                    bad.append(f"{'.'.join(map(str, path))} = {what}: {text}")
    assert not bad, f"{len(bad)} messages:\n" + "\n".join(dict.fromkeys(bad))
