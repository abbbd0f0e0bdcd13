"""Our own scripts (``portage/data``), run inside a root with its Python and its Portage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from stagewright.root.root import Root
from stagewright.root.sandbox import Bind

QUIET = {"PYTHONDONTWRITEBYTECODE": "1", "NOCOLOR": "true", "NO_COLOR": "1"}
"""Variables that keep Portage from leaving bytecode, and from colours."""

_REQUEST = "/tmp/request.json"


def ask(
    root: Root,
    script: str,
    request: tuple[Path, Any] | None = None,
    *,
    arguments: Sequence[str] = (),
    binds: Sequence[Bind] = (),
    env: Mapping[str, str] | None = None,
) -> Any:
    """Run a script and return what it answers: the JSON in the last line that it prints.

    ``request`` is what it is asked, and a file to write that to; the script finds it as its first argument.
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
    """Run a script, of Python or of the shell, and return the last line that it prints."""
    inner, interpreter = f"/tmp/{script}", "python3" if script.endswith(".py") else "sh"
    with resources.as_file(resources.files("stagewright.portage") / "data" / script) as source:
        seen = [*binds, Bind(source, inner)]
        said = root.run(interpreter, inner, *arguments, binds=seen, env={**QUIET, **(env or {})})
    return said.stdout.splitlines()[-1]
