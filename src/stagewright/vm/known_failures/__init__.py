"""The tables of known failures, by the part of a boot. More specific patterns come first.

A row belongs here if its line means an error on every machine. ``tests/unit/vm/test_known_failures.py`` has a line of a
real console for each row, and whole consoles of healthy boots, in which no row may match.
"""

from __future__ import annotations

from stagewright.vm.failures import Failure, final_ones
from stagewright.vm.known_failures.early import EARLY, NEEDS_ONE_BOOT_OPTION
from stagewright.vm.known_failures.initramfs import INITRAMFS
from stagewright.vm.known_failures.kernel import KERNEL
from stagewright.vm.known_failures.storage import STORAGE
from stagewright.vm.known_failures.system import SYSTEM

KNOWN_FAILURES: tuple[Failure, ...] = (*EARLY, *INITRAMFS, *SYSTEM, *STORAGE, *KERNEL)
"""All known failures."""

FINAL_FAILURES = final_ones(KNOWN_FAILURES)
"""Failures that end a boot."""

__all__ = ["FINAL_FAILURES", "KNOWN_FAILURES", "NEEDS_ONE_BOOT_OPTION"]
