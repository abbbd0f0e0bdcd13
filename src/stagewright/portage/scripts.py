"""Runs of the scripts in ``portage/data`` inside a root, with its Python and its Portage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from stagewright.root.root import Root
from stagewright.root.sandbox import Bind

QUIET = {"PYTHONDONTWRITEBYTECODE": "1", "NOCOLOR": "true", "NO_COLOR": "1"}
"""Variables that disable bytecode files and colours."""

_REQUEST = "/tmp/request.json"


def ask_script(
    root: Root,
    script: str,
    request: tuple[Path, Any] | None = None,
    *,
    arguments: Sequence[str] = (),
    binds: Sequence[Bind] = (),
    env: Mapping[str, str] | None = None,
) -> Any:
    """Run a script and return its answer: the JSON in the last line of its output.

    ``request`` is a file and the JSON-able data to write into it. The script gets the file as its first argument.
    """
    seen, words = list(binds), list(arguments)
    if request:
        path, asked = request
        path.write_text(json.dumps(asked), encoding="utf-8")
        seen.append(Bind(path, _REQUEST))
        words.insert(0, _REQUEST)
    return json.loads(last_line(root, script, arguments=words, binds=seen, env=env))


def last_line(
    root: Root,
    script: str,
    *,
    arguments: Sequence[str] = (),
    binds: Sequence[Bind] = (),
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a Python or shell script and return the last line of its output."""
    inner, interpreter = f"/tmp/{script}", "python3" if script.endswith(".py") else "sh"
    with resources.as_file(resources.files("stagewright.portage") / "data" / script) as source:
        seen = [*binds, Bind(source, inner)]
        said = root.run(interpreter, inner, *arguments, binds=seen, env={**QUIET, **(env or {})})
    return said.stdout.splitlines()[-1]
