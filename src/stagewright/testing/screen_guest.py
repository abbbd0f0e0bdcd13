"""The keyboard and the screen of a virtual machine, as a test uses them."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from stagewright.errors import StagewrightError
from stagewright.testing.guest import Guest
from stagewright.testing.keyboard import keys_of, keys_of_character
from stagewright.testing.screen import Region, check_tesseract, digest, text_of
from stagewright.testing.setup import SCREEN
from stagewright.vm.console import shorten
from stagewright.vm.machine import Machine as VirtualMachine

_BETWEEN = 0.1  # seconds; QEMU holds a key for 0.1 s


class GuestWithScreen(Guest):
    """A guest with a keyboard and a screen."""

    def send_keys(self, *combinations: str) -> None:
        """Press keys of the keyboard, such as ``ctrl-alt-f2`` or ``enter``, one combination after the other."""
        with self.step(f"press {' '.join(combinations)}"):
            for combination in combinations:
                self._press(keys_of(combination))

    def send_chars(self, text: str) -> None:
        """Type on the keyboard, with a US layout."""
        with self.step(f"type {shorten(text)} on the keyboard"):
            for character in text:
                self._press(keys_of_character(character))

    def screenshot(self, name: str = "screenshot") -> Path:
        """Save a picture of the screen as ``NAME.png`` in the folder of the test. Return its path."""
        with self.step(f"screenshot {name}"):
            return self._running().screenshot(self.folder / f"{name}.png")

    def screen_digest(self, region: Region | None = None) -> str:
        """Return the digest of the pixels of the screen, or of a region."""
        path = self.folder / "screen.ppm"
        self._running().control.execute("screendump", filename=str(path.resolve()), limit=20)
        return digest(path, region)

    def wait_for_screen(self, expected: str, region: Region | None = None, timeout: float | None = None) -> None:
        """Wait until the screen, or a region of it, has a digest. The error has the digest that was found last."""
        where = f"the region {region}" if region else "the screen"
        found = ""

        def attempt() -> bool:
            nonlocal found
            found = self.screen_digest(region)
            return found == expected

        with self.step(f"compare {where}"):
            try:
                self.wait_until(f"{where} to look as expected", attempt, timeout)
            except StagewrightError as error:
                error.detail = f"found digest {found}\n{error.detail}"
                raise

    def screen_text(self) -> str:
        """Return the text on the screen, as tesseract reads it. Raises ``MISSING_TOOL`` if it is not installed."""
        return text_of(self._running().screenshot(self.folder / SCREEN))

    def wait_for_screen_text(self, pattern: str, timeout: float | None = None) -> None:
        """Wait until tesseract reads text on the screen that matches a regular expression."""
        with self.step(f"wait for {pattern} on the screen"):
            check_tesseract()
            seen = re.compile(pattern, re.MULTILINE)
            self.wait_until(f"/{pattern}/ on the screen", lambda: bool(seen.search(self.screen_text())), timeout)

    def _running(self) -> VirtualMachine:
        """Return the running machine. Raises ``BOOT_FAILED`` if it is off."""
        raise NotImplementedError

    def _press(self, keys: list[dict[str, Any]]) -> None:
        self._running().control.execute("send-key", keys=keys)
        time.sleep(_BETWEEN)
