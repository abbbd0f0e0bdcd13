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

_SCRIPT, _REQUEST = "/tmp/script.py", "/tmp/request.json"


def ask(
    root: Root,
    script: str,
    request: tuple[Path, Any] | None = None,
    binds: Sequence[Bind] = (),
    env: Mapping[str, str] | None = None,
) -> Any:
    """Run a script and return what it answers: the JSON in the last line that it prints.

    ``request`` is what it is asked, and a file to write that to; the script finds it as its argument.
    """
    seen, words = list(binds), ["python3", _SCRIPT]
    if request:
        path, asked = request
        path.write_text(json.dumps(asked))
        seen.append(Bind(path, _REQUEST))
        words.append(_REQUEST)
    with resources.as_file(resources.files("stagewright.portage") / "data" / script) as source:
        said = root.run(*words, binds=[*seen, Bind(source, _SCRIPT)], env={**QUIET, **(env or {})})
    return json.loads(said.stdout.splitlines()[-1])
