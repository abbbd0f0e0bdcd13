"""Make the pictures of terminals in docs/images from real runs: ``make pictures``.

Each picture shows commands and their output as a terminal has it, as an SVG with nothing from other places.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

IMAGES = Path(__file__).parents[1] / "docs" / "images"
COLUMNS = 100

BREAK = 's/kind = "embedded"/kind = "embeded"/; s/^title = .*/titel = "demo"/'

PICTURES = {
    "plan": ["stagewright init debian my-live", "cd my-live", "stagewright plan"],
    "error": [f"sed -i '{BREAK}' stagewright.toml", "stagewright check"],
}
"""Commands by the name of the picture. Each picture continues in the folder of the one before."""


def shown(command: str, folder: Path, store: Path) -> str:
    """Return the output of a command on a terminal, with its colours."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    given = {"PATH": path, "HOME": str(folder), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    words = ["script", "--quiet", "--return", "--command", f"stty cols {COLUMNS}; {command}", "/dev/null"]
    done = subprocess.run(
        words,
        cwd=folder,
        env={**given, "STAGEWRIGHT_STORE": str(store)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
    )
    return done.stdout.decode().replace("\r\n", "\n").replace(f"{folder}/", "")


def picture(name: str, folder: Path, store: Path) -> tuple[str, Path]:
    """Return a picture, and the folder that its commands end in."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for command in PICTURES[name]:
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        if command.startswith("cd "):
            folder /= shlex.split(command)[1]
            continue
        if said := shown(command, folder, store).rstrip("\n"):
            console.print(Text.from_ansi(said))
    form = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title="stagewright", code_format=form, unique_id=name), folder


def main() -> None:
    """Write all pictures."""
    with tempfile.TemporaryDirectory() as work:
        folder, store = Path(work) / "home", Path(work) / "store"
        folder.mkdir()
        for name in PICTURES:
            text, folder = picture(name, folder, store)
            (IMAGES / f"{name}.svg").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
