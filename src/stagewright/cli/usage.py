"""Errors of a command line in the form of all other errors: what is wrong, and a hint."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import click

from stagewright.errors import Reason, StagewrightError, nearest

_QUOTED = re.compile(r"^(?P<quote>['\"])(?P<value>.*?)(?P=quote) is ", re.DOTALL)
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
    refused = here / os.path.normpath(os.fsdecode(error.filename))
    for word in words:
        text = word.partition("=")[2] if word.startswith("-") else word
        named = here / os.path.normpath(text)
        if text and (named == refused or named in refused.parents or named.parent == refused.parent != here):
            return StagewrightError(Reason.USAGE, f"{word}: {error.strerror}", hint="name another path")
    return None


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
