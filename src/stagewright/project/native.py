"""Notes for stages whose compilers build for the processor of the computer that runs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from stagewright.lazy_pattern import lazy_pattern
from stagewright.project.fields import Section

_NATIVE = lazy_pattern(r"-m(?:arch|cpu|tune)=native\b|target-cpu=native\b")
"""Flags of GCC, Clang and rustc for the processor at hand."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def model(self) -> Section: ...


def native_notes(entries: Iterable[_Named]) -> Iterator[str]:
    """Yield a note for each entry with one of these flags in ``common_flags`` or ``make_conf``.

    The processor is in no key. A computer that takes the result from a remote store can have another one.
    """
    for entry in entries:
        texts = {"common_flags": getattr(entry.model, "common_flags", None), **_make_conf(entry.model)}
        for key, text in texts.items():
            if found := _NATIVE.search(str(text or "")):
                yield (
                    f"{entry.name}: {key}: {found[0]} builds for the processor of this computer, and other computers "
                    "take the result from a store; name the processor, such as -march=x86-64-v3"
                )


def _make_conf(model: Section) -> dict[str, object]:
    return {f"make_conf.{name}": text for name, text in dict(getattr(model, "make_conf", None) or {}).items()}
