"""Files of ``NAME="value"`` lines that shells source: os-release(5), locale.conf(5), vconsole.conf(5), conf.d, env.d.

systemd and Python's :func:`platform.freedesktop_os_release` read the same lines without a shell. All of them agree on
double quotes with a backslash before ``"``, ``$``, ``\\`` and a backquote. Portage reads make.conf by other rules, see
:func:`stagewright.portage.confdir.make_conf`.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Collection, Mapping
from typing import Annotated

from stagewright.project.fields import Matching

VariableName = Annotated[str, Matching(r"[A-Z][A-Z0-9_]*", "a name of A-Z, 0-9 and _, such as PRETTY_NAME")]
"""The name of a variable in os-release(5)."""

OneLine = Annotated[str, Matching(r"[^\x00-\x1f\x7f]*", "one line, without control characters")]
"""A value that a file of ``NAME="value"`` lines can hold."""


def assignments(values: Mapping[str, str]) -> str:
    """Return one line ``NAME="value"`` for each variable. Values must be one line each (:data:`OneLine`)."""
    return "".join(f'{name}="{_escaped(value)}"\n' for name, value in values.items())


def with_assignments(text: str | None, values: Mapping[str, str]) -> str:
    """Return the text of a file with these variables set at its end; lines that set them before are removed."""
    lines = (text or "").removesuffix("\n").split("\n") if text else []
    kept = [line for line in lines if line.partition("=")[0].strip() not in values]
    return "".join(f"{line}\n" for line in kept) + assignments(values)


def values_of(text: str, names: Collection[str]) -> dict[str, str]:
    """Return the values of these variables in a file, without those in lines that a shell could not read."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        with contextlib.suppress(ValueError):
            words = shlex.split(value, comments=True)
            if equals and name in names and len(words) == 1 and words[0].isprintable():
                found[name] = words[0]
    return found


IDENTIFIERS = ("ID", "ID_LIKE", "VERSION_ID", "VARIANT_ID", "BUILD_ID", "IMAGE_ID", "IMAGE_VERSION")
"""Variables of os-release(5) that programs read, such as boot loaders, which sort entries by them."""


def titled_os_release(title: str, identifiers: Mapping[str, str]) -> str:
    """Return the os-release(5) of a unified kernel image, which systemd-boot shows by its PRETTY_NAME.

    ``identifiers`` are those of the system in the image.
    """
    return assignments({"ID": "linux", **identifiers, "NAME": title, "PRETTY_NAME": title})


def _escaped(value: str) -> str:
    return re.sub(r'(["$`\\])', r"\\\1", value)
