"""PINs of tokens that the user types, for the length of a build."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator

from stagewright.graph.node import Node
from stagewright.kinds.common.signing_keys import signing_keys

Ask = Callable[[str], str]
"""Asks the user for a secret with the given text, and returns the answer."""


@contextlib.contextmanager
def asked_pins(nodes: Iterable[Node], ask: Ask | None) -> Iterator[None]:
    """Ask for each PIN that signing in these nodes needs and that no file or variable has.

    The variables of this process have them meanwhile. Other processes get only variables that are named to them.
    """
    asked: list[str] = []
    try:
        for keys in (keys for node in nodes for keys in signing_keys(node)):
            if ask and keys.token and keys.token.lacks_pin:
                os.environ[keys.pin_variable] = ask(f"PIN of {keys.token.uri.token} ({keys.setting}.key): ")
                asked.append(keys.pin_variable)
        yield
    finally:
        for name in asked:
            del os.environ[name]
