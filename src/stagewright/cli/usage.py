"""Errors of a command line in the form of all other errors: what is wrong, and a hint."""

from __future__ import annotations

import errno
import itertools
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from stagewright.errors import Reason, StagewrightError, nearest
from stagewright.permissions import REFUSALS, remedy

_QUOTED = re.compile(r"^(?P<quote>['\"])(?P<value>.*?)(?P=quote) is ", re.DOTALL)
_CLOSED = re.compile(r"^\w+ '(?P<path>.*)' is not (readable|writable|executable)$", re.DOTALL)
_EXTRA = re.compile(r"^Got unexpected extra arguments? \((?P<words>.*)\)$", re.DOTALL)


def usage_error(error: click.ClickException) -> StagewrightError:
    """Return an error of click as one of Stagewright."""
    command_line = getattr(error, "ctx", None)
    message, hint = _explained(error, command_line)
    if not hint and command_line:
        hint = f"{command_line.command_path} --help"
    return StagewrightError(Reason.USAGE, message, hint=hint)


def path_error(error: OSError, words: Iterable[str]) -> StagewrightError | None:
    """Return the error for a path of the command line that the system refuses, or a current folder that is gone.

    All other paths are Stagewright's own: their errors are defects.
    """
    try:
        here = Path.cwd()
    except FileNotFoundError:
        return StagewrightError(Reason.USAGE, "the current folder was removed", hint="change to another folder")
    if not error.filename:
        return None
    words = list(words)
    path = here / os.path.normpath(os.fsdecode(error.filename))
    if error.errno in REFUSALS:
        return _refused_store(error, path, words) or _refused(error, path, here, words)
    for word in words:
        text = word.partition("=")[2] if word.startswith("-") else word
        named = here / os.path.normpath(text)
        if text and (named == path or named in path.parents or named.parent == path.parent != here):
            return StagewrightError(Reason.USAGE, f"{word}: {error.strerror}", hint="name another path")
    return None


def _refused_store(error: OSError, path: Path, words: Sequence[str]) -> StagewrightError | None:
    """Return the error for a path in the store that the system refuses."""
    from stagewright.store.place import default_store, refused

    named = [word.partition("=")[2] for word in words if word.startswith("--store=")]
    named += [after for word, after in itertools.pairwise(words) if word == "--store"]
    store = (Path(named[-1]) if named else default_store()).absolute()
    return refused(error, store, "read") if path == store or store in path.parents else None


def _refused(error: OSError, path: Path, here: Path, words: Sequence[str]) -> StagewrightError | None:
    """Return the error for another path that the system refuses; None for one of the system itself."""
    named = (here / os.path.normpath(word.partition("=")[2] if word.startswith("-") else word) for word in words)
    own = path.is_relative_to(here) or any(path.is_relative_to(one) or one.parent == path.parent for one in named)
    if not own and (os.geteuid() == 0 or path.is_relative_to("/proc") or path.is_relative_to("/sys")):
        return None
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return StagewrightError(Reason.USAGE, f"{shown}: {error.strerror}", hint=remedy(shown, error))


def _explained(error: click.ClickException, ctx: click.Context | None) -> tuple[str, str]:
    said = error.format_message().rstrip(".")
    match error:
        case click.NoSuchOption():
            return f"unknown option {error.option_name!r}", _close(error.option_name, _options(ctx))
        case click.MissingParameter(param=click.Option()):
            return f"{_name(error)} is missing", ""
        case click.MissingParameter():
            return f"{_name(error)} is missing", _written(error, ctx)
        case click.BadParameter():
            return _bad_value(error, error.message.rstrip("."))
        case _ if extra := _EXTRA.match(said):
            return f"unexpected argument {extra['words']!r}", _usage(ctx)
    message, _, hint = said.partition("; ")
    return message[:1].lower() + message[1:], hint


def _bad_value(error: click.BadParameter, said: str) -> tuple[str, str]:
    """Return message and hint for a value that does not fit."""
    kind, name, quoted = error.param and error.param.type, _name(error), _QUOTED.match(said)
    if isinstance(kind, click.Choice) and quoted:
        return f"{name}: unknown value {quoted['value']!r}", nearest(quoted["value"], kind.choices)
    if isinstance(kind, click.IntRange | click.FloatRange) and " is not in the range " in said:
        limits = [f"at least {kind.min}"] if kind.min is not None else []
        limits += [f"at most {kind.max}"] if kind.max is not None else []
        return f"{name}: must be {' and '.join(limits)} (found {said.split(maxsplit=1)[0]})", ""
    if isinstance(kind, click.types.IntParamType) and quoted:
        return f"{name}: must be a whole number (found {quoted['value']!r})", ""
    message, _, hint = said.partition("; ")
    if quoted is None and (closed := _CLOSED.match(said)):
        hint = remedy(Path(closed["path"]), PermissionError(errno.EACCES, ""))
    return f"{name}: {message[:1].lower()}{message[1:]}", hint


def _name(error: click.BadParameter) -> str:
    if isinstance(error.param, click.Option):
        return max(error.param.opts, key=len)
    shown = error.param.make_metavar(error.ctx) if error.param and error.ctx else ""
    return shown.strip("[].") or str(error.param_hint or "value")


def _written(error: click.MissingParameter, ctx: click.Context | None) -> str:
    kind = error.param and error.param.type
    return f"write one of: {', '.join(map(str, kind.choices))}" if isinstance(kind, click.Choice) else _usage(ctx)


def _usage(ctx: click.Context | None) -> str:
    return ctx.get_usage().replace("Usage: ", "write: ", 1).replace("\n", " ") if ctx else ""


def _options(ctx: click.Context | None) -> list[str]:
    """Return the options of a command that its help lists."""
    shown = (one for one in (ctx.command.get_params(ctx) if ctx else ()) if not getattr(one, "hidden", False))
    return [word for one in shown if isinstance(one, click.Option) for word in one.opts if word.startswith("--")]


def _close(word: str, known: Iterable[str]) -> str:
    hint = nearest(word, known)
    return hint if hint.startswith("did you mean") else ""
