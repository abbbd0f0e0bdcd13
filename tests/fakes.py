"""Programs that stand before the real ones in PATH, or are missing there. The real ones are never written to."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Fakes:
    """A folder at the head of PATH. After :meth:`hide` it is all of PATH, with links to the programs that stay."""

    folder: Path
    whole: bool = False

    @property
    def path(self) -> str:
        """PATH with this folder."""
        return str(self.folder) if self.whole else f"{self.folder}:{os.environ['PATH']}"

    def put(self, name: str, script: str) -> None:
        """Put a program before the real one, which the script can call as $real."""
        self.folder.mkdir(exist_ok=True)
        path = self.folder / name
        path.unlink(missing_ok=True)  # it may be a link to the real one
        path.write_text(f"#!/bin/sh\nreal={shutil.which(name)}\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def hide(self, *names: str) -> None:
        """Take programs out of PATH."""
        self.folder.mkdir(exist_ok=True)
        for folder in os.environ["PATH"].split(":"):
            for path in Path(folder).glob("*"):
                link = self.folder / path.name
                if path.name not in names and not link.exists() and not link.is_symlink():
                    link.symlink_to(path)
        self.whole = True

    def clear(self) -> None:
        """Let all programs be the real ones again."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.whole = False
