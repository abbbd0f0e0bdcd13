"""Runs of the scripts in ``portage/data`` inside a root, with its Python and its Portage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from stagewright.errors import Reason, StagewrightError
from stagewright.root.sandbox import Bind

if TYPE_CHECKING:
    from stagewright.root.root import Root

QUIET = {"PYTHONDONTWRITEBYTECODE": "1", "NOCOLOR": "true", "NO_COLOR": "1"}
"""Variables that disable bytecode files and colours."""

_REQUEST = "/tmp/request.json"


T = TypeVar("T")


def ask_script(
    root: Root,
    script: str,
    shape: type[T],
    request: tuple[Path, Any] | None = None,
    *,
    arguments: Sequence[str] = (),
    binds: Sequence[Bind] = (),
    env: Mapping[str, str] | None = None,
) -> T:
    """Run a script and return its answer: the JSON in the last line of its output, which must have a shape.

    ``request`` is a file and the JSON-able data to write into it. The script gets the file as its first argument.
    Raises: BUILD_FAILED for any other answer. The Python of the root gives it, which can be hostile.
    """
    seen, words = list(binds), list(arguments)
    if request:
        path, asked = request
        path.write_text(json.dumps(asked), encoding="utf-8")
        seen.append(Bind(path, _REQUEST))
        words.insert(0, _REQUEST)
    line = last_line(root, script, arguments=words, binds=seen, env=env)
    try:
        return TypeAdapter(shape).validate_json(line, strict=True)
    except ValidationError as error:
        raise _unexpected(script, line) from error


def last_line(
    root: Root,
    script: str,
    *,
    arguments: Sequence[str] = (),
    binds: Sequence[Bind] = (),
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a Python or shell script and return the last line of its output. Raises: BUILD_FAILED if it has none."""
    inner, interpreter = f"/tmp/{script}", "python3" if script.endswith(".py") else "sh"
    with resources.as_file(resources.files("stagewright.portage") / "data" / script) as source:
        seen = [*binds, Bind(source, inner)]
        said = root.run(interpreter, inner, *arguments, binds=seen, env={**QUIET, **(env or {})})
    lines = said.stdout.splitlines()
    if not lines:
        raise _unexpected(script, "nothing")
    return lines[-1]


def _unexpected(script: str, line: str) -> StagewrightError:
    what = f"{script}: the programs of the root gave an unexpected answer ({line[:100]})"
    hint = "look at Python and Portage of the root: stagewright shell NAME"
    return StagewrightError(Reason.BUILD_FAILED, what, hint=hint)
