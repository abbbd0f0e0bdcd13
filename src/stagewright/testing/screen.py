"""Look at the screen of a machine: regions by their digest, and text by tesseract(1)."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

from stagewright import run
from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass

TESSERACT = "tesseract"

_MODES = ("6", "11")
"""Modes of page segmentation: a block of lines, and sparse text (tesseract(1), --psm)."""

_HEADER = re.compile(rb"P6\s+(\d+)\s+(\d+)\s+255\s")


@dataclass(frozen=True)
class Region:
    """A rectangle of the screen, in pixels from the upper left corner."""

    left: int
    top: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"[{self.left}, {self.top}, {self.width}, {self.height}]"


def digest(picture: Path, region: Region | None = None) -> str:
    """Return the SHA-256 of the pixels of a picture (PPM, 3 bytes per pixel), or of a region of it.

    Raises ``BOOT_FAILED`` if the region is not inside of the picture.
    """
    data = picture.read_bytes()
    header = _HEADER.match(data)
    if not header:
        raise StagewrightError(Reason.BOOT_FAILED, f"{picture}: QEMU wrote no valid picture")
    width, height = int(header[1]), int(header[2])
    whole = region or Region(0, 0, width, height)
    if whole.left + whole.width > width or whole.top + whole.height > height:
        what = f"the region {whole} is not inside of the screen (found {width} x {height})"
        raise StagewrightError(Reason.BOOT_FAILED, what)
    total = hashlib.sha256()
    for row in range(whole.top, whole.top + whole.height):
        start = header.end() + 3 * (row * width + whole.left)
        total.update(data[start : start + 3 * whole.width])
    return total.hexdigest()


def check_tesseract() -> None:
    """Raise ``MISSING_TOOL`` if tesseract is not installed."""
    if shutil.which(TESSERACT, path=run.PATH) is None:
        hint = "install tesseract-ocr on Debian and Ubuntu, app-text/tesseract on Gentoo"
        raise StagewrightError(Reason.MISSING_TOOL, f"{TESSERACT}: not installed; it reads the screen", hint=hint)


def text_of(picture: Path) -> str:
    """Return the text that tesseract recognises in a picture. Raises ``MISSING_TOOL``.

    The lines of a text console come first, then texts anywhere, such as labels of a desktop.
    """
    check_tesseract()
    words = [TESSERACT, str(picture), "-", "--dpi", "96", "--psm"]
    one_thread = {"OMP_THREAD_LIMIT": "1"}  # more threads make it slower
    return "\n".join(run.run([*words, mode], env=one_thread).stdout for mode in _MODES)
