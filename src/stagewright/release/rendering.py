"""Texts by templates of Jinja. A folder of the project can have a template in place of Stagewright's.

Values are escaped in HTML and XML, and in Markdown (``.md``). So a name or a title of others is text there, never
markup.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from stagewright.errors import Reason, StagewrightError

if TYPE_CHECKING:
    import jinja2

_MARKUP = (".html", ".xml")
_SPECIAL = re.compile(r"[\\`*_\[\]<>|#~&@!{}]|(?<=\w):(?=//)|(?<=\bwww)\.|^(?=[+-](?:\s|$)|=+$|-+$)")
"""Pattern of markup in Markdown, also in the dialects that make links of addresses and of names with @."""

_NUMBER = re.compile(r"^([0-9]{1,9})([.)])(?=\s|$)")
"""Pattern of the number of an item in a list."""


def render(
    names: Sequence[str], values: Mapping[str, Any], *, package: str, folder: Path | None, place: str = "templates"
) -> str:
    """Return the text of the first template that exists, by the values. The first name decides what is escaped.

    ``package`` has Stagewright's templates, ``folder`` those of the project, which ``place`` names in messages. Raises:
    INVALID_VALUE for an error in a template.
    """
    import jinja2  # noqa: PLC0415  slow to import, and only pages and notes need it

    environment = _environment(names[0], package, folder)
    try:
        return environment.select_template(list(names)).render(**values)
    except (jinja2.TemplateError, UnicodeDecodeError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        what = f"{place}/{names[0]}: {error}"
        raise StagewrightError(Reason.INVALID_VALUE, what, hint="correct the template") from error


def _environment(name: str, package: str, folder: Path | None) -> jinja2.Environment:
    import jinja2  # noqa: PLC0415

    loaders: list[jinja2.BaseLoader] = [jinja2.PackageLoader(package)]
    if folder:
        loaders.insert(0, jinja2.FileSystemLoader(folder))
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=name.endswith(_MARKUP),
        finalize=in_markdown if name.endswith(".md") else None,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"day": day, "rfc822": _rfc822, "mib": mib, "change": change, "path": quote}
    return environment


def in_markdown(value: object) -> str:
    """Return a value as text of one line in Markdown, without any markup."""
    line = re.sub(r"\s+", " ", "".join(letter if letter.isprintable() else " " for letter in str(value)))
    return _NUMBER.sub(r"\1\\\2", _SPECIAL.sub(lambda found: f"\\{found[0]}", line))


def day(seconds: int) -> str:
    """Return the date of a time, in UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def mib(size: int) -> str:
    """Return a number of bytes in MiB, or in KiB if it is small."""
    return f"{size / (1 << 20):.1f} MiB" if size >= 1 << 19 else f"{size / 1024:.1f} KiB"


def change(size: int) -> str:
    """Return a growth in bytes with its sign."""
    if abs(size) >= 1 << 20:
        return f"{size / (1 << 20):+.1f} MiB"
    return f"{size / 1024:+.1f} KiB" if abs(size) >= 1024 else f"{size:+} bytes" if size else "0"


def _rfc822(seconds: int) -> str:
    """Return a time as RSS has it."""
    return formatdate(seconds, usegmt=True)
