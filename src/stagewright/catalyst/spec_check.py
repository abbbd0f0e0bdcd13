"""Check single specs: their keys, values, names and files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from stagewright.catalyst.auto import Notice
from stagewright.catalyst.catalyst_conf import ENDINGS, ending
from stagewright.catalyst.release import Member, Release
from stagewright.catalyst.spec import Spec, SpecEntry
from stagewright.catalyst.spec_keys import PLACEHOLDERS, REMOVED_KEYS, SpecKey, Target, ValueType
from stagewright.catalyst.subarches import subarches
from stagewright.catalyst.tokens import TOKEN
from stagewright.errors import Place, Reason, StagewrightError, nearest

ELSEWHERE = ("/var/tmp/catalyst", "/usr/share/catalyst", "/root/releng")
"""Folders on the machines that build the official releases: storedir, sharedir, the checkout of the specs."""

_DISKIMAGES = ("generic", "console", "ssh", "cloud-init")
_VOLID = 32
_MARK = "\ufeff"
_CHECKOUT = "@REPO_DIR@/"


def check_member(member: Member, release: Release) -> None:
    """Check a single spec. Errors and notices are added to the release."""
    release.problems += member.spec.problems
    if member.target is None:
        release.problems.append(_no_target(member.spec))
    else:
        release.problems += _keys(member, member.target)
        release.problems += _words(member)
        release.notices += _ignored(member, member.target)
        _files(member, release)
    release.problems += _names(member)


def _no_target(spec: Spec) -> StagewrightError:
    word = spec.text("target")
    if marked := next((entry for name, entry in spec.entries.items() if name.startswith(_MARK)), None):
        message = "the file begins with a byte order mark, which is then part of the first key"
        hint = "save it as UTF-8 without a byte order mark"
        return StagewrightError(Reason.SYNTAX, message, place=marked.place, hint=hint)
    if not word:
        hint = f"add target: one of {', '.join(Target)}"
        return StagewrightError(Reason.MISSING_KEY, "target is missing", place=spec.place("target"), hint=hint)
    message = f"target: unknown target {word!r}"
    return StagewrightError(Reason.UNKNOWN_KIND, message, place=spec.place("target"), hint=nearest(word, Target))


def _keys(member: Member, target: Target) -> Iterator[StagewrightError]:
    """Yield errors for keys that are unknown to the target, and for missing required keys."""
    spec = member.spec
    for name, entry in spec.entries.items():
        if name not in member.keys:
            yield _unknown(name, entry, member, target)
    for name, key in target.keys.items():
        if target in key.required and name != "target" and not spec.words(name):
            hint = f"add {name}: {key.meaning}"
            message = f"{name} is missing (required by {target})"
            yield StagewrightError(Reason.MISSING_KEY, message, place=spec.place("target"), hint=hint)


def _unknown(name: str, entry: SpecEntry, member: Member, target: Target) -> StagewrightError:
    message = f"unknown key {name!r} for {target}"
    other = next((key for key in target.keys.values() if key.matches(name)), None)
    bare = name.strip().lower()
    if other:
        part = next(part for part in PLACEHOLDERS if part in other.name)
        message = f"{name!r}: {part.strip('<>')} not found in {PLACEHOLDERS[part]}"
        before, _, after = other.name.partition(part)
        word = name[len(before) : len(name) - len(after)]
        list_key = PLACEHOLDERS[part]
        hint = f"add {word!r} to {list_key}, or correct the name: {nearest(word, member.spec.words(list_key))}"
    elif bare in REMOVED_KEYS:
        hint = REMOVED_KEYS[bare]
    elif bare in member.keys:
        hint = f"write {bare!r}: spaces before the colon and capitals are part of a key"
    elif entry.place.column > 1 or (entry.words and "/" in name and entry.word_place().column == _after(entry)):
        hint = "write words with a colon on the line of their list's key: a colon on any other line starts a key"
    else:
        hint = nearest(name, member.keys)
    return StagewrightError(Reason.UNKNOWN_KEY, message, place=entry.place, hint=hint)


def _after(entry: SpecEntry) -> int:
    """Return the column after the colon of a key. A word there is the slot of an atom and not a value."""
    return entry.place.column + len(entry.key) + 1


def _words(member: Member) -> Iterator[StagewrightError]:
    """Yield errors for invalid values."""
    for name, entry in member.spec.entries.items():
        key = member.keys.get(name)
        if key is None or entry.value is None:
            continue
        if key.value_type.single and len(entry.words) > 1:
            message = f"{name}: must be one word (found {len(entry.words)})"
            hint = "a line without a colon belongs to the key above" if _many_lines(entry) else "write one word"
            yield StagewrightError(Reason.INVALID_VALUE, message, place=entry.word_place(1), hint=hint)
        elif problem := _value(name, key, entry):
            message, hint = problem
            yield StagewrightError(Reason.INVALID_VALUE, f"{name}: {message}", place=entry.word_place(), hint=hint)


def _many_lines(entry: SpecEntry) -> bool:
    return len({line for line, _ in entry.spots}) > 1


def _value(name: str, key: SpecKey, entry: SpecEntry) -> tuple[str, str] | None:
    """Return the error message and hint for an invalid value, or None."""
    text = entry.text
    if TOKEN.search(text):
        return None
    if key.value_type is ValueType.YES and text not in ("yes", "no"):
        return f"must be yes or no (found {text!r})", "write yes or no: Catalyst treats every other word as no"
    if name == "compression_mode" and ending(text) is None:
        return f"unknown mode {text!r}", nearest(text, ENDINGS)
    if name.endswith("/volid") and len(entry.words) == 1 and len(text) > _VOLID:  # Catalyst cuts several words
        return f"must be at most {_VOLID} characters for an ISO (found {len(text)})", "write a shorter one"
    if name == "diskimage/type" and text not in _DISKIMAGES:
        return f"unknown type {text!r}", nearest(text, _DISKIMAGES)
    return None


def _names(member: Member) -> Iterator[StagewrightError]:
    """Yield errors for an unknown sub-architecture and for an invalid version_stamp."""
    spec = member.spec
    subarch = spec.text("subarch")
    if subarch and " " not in subarch and not TOKEN.search(subarch) and subarch not in subarches():
        message = f"subarch: unknown sub-architecture {subarch!r}"
        hint = nearest(subarch, subarches())
        yield StagewrightError(Reason.UNKNOWN_NAME, message, place=spec.place("subarch"), hint=hint)
    stamp = spec.text("version_stamp")
    rest = TOKEN.sub("", stamp)
    if "/" not in stamp and not re.fullmatch(r"[A-Za-z0-9._+-]*", rest):
        message = f"version_stamp: invalid characters for the name of a file (found {stamp!r})"
        hint = "use letters, digits, ., _, + and -, and tokens in capitals, like @TIMESTAMP@"
        yield StagewrightError(Reason.INVALID_VALUE, message, place=spec.place("version_stamp"), hint=hint)
    if "/" in stamp:
        message = f"version_stamp: must not contain / (found {stamp!r})"
        yield StagewrightError(Reason.INVALID_VALUE, message, place=spec.place("version_stamp"), hint="remove the /")


def _ignored(member: Member, target: Target) -> Iterator[Notice]:
    """Yield notices for keys that Catalyst accepts and ignores."""
    for name, entry in member.spec.entries.items():
        key = member.keys.get(name)
        if key and target not in key.effective:
            yield Notice(entry.place, f"{name}: Catalyst accepts this key for {target} and ignores it")


def _files(member: Member, release: Release) -> None:
    """Check that the files exist. Files of other machines are looked for below the given folders."""
    for name, entry in member.spec.entries.items():
        key = member.keys.get(name)
        if key is None or not key.value_type.path or entry.value is None:
            continue
        for number, word in enumerate(entry.words):
            place = entry.word_place(number)
            found = find_file(word, key.value_type, member.spec, release)
            by_name = key.value_type is ValueType.CONFIG and found in release.kernel_configs.values()
            if not (TOKEN.search(word) or by_name or exists(member.spec.file.parent / word)):
                _elsewhere(name, key, word, place, release)


def find_file(word: str, value_type: ValueType, spec: Spec, release: Release) -> Path:
    """Return the file that a word of a spec names.

    Relative paths start from the folder of the spec. Kernel configurations are found by their base name, as in
    catalyst-auto. Files of other machines are looked for below the given folders. If no file exists, the path of the
    spec is returned.
    """
    if value_type is ValueType.CONFIG and Path(word).name in release.kernel_configs:
        return release.kernel_configs[Path(word).name]
    if word.startswith(_CHECKOUT):
        rest = word.removeprefix(_CHECKOUT)
        return _below_given(Path(rest), release) or Path("/", _CHECKOUT, rest)
    path = spec.file.parent / word
    top = None if exists(path) else _top(word, release)
    return (_below_given(Path(word).relative_to(top), release) if top else None) or path


def _top(word: str, release: Release) -> str | None:
    """Return the folder of another machine, storedir or sharedir that a path is in, or None."""
    tops = (*ELSEWHERE, release.config.storedir, release.config.sharedir)
    return next((top for top in tops if Path(word).is_relative_to(top)), None)


def _elsewhere(name: str, key: SpecKey, word: str, place: Place, release: Release) -> None:
    """Report a file that does not exist at the path of the spec."""
    top = _top(word, release)
    found = _below_given(Path(word).relative_to(top), release) if top else None
    if found:
        release.notices.append(Notice(place, f"{name}: {word} not found; {found} is used instead"))
    elif top:
        release.notices.append(Notice(place, f"{name}: {word} not found on this machine"))
    elif key.value_type is ValueType.CONFIG and not any(auto.kconfig_dir for auto in release.autos):
        text = f"{name}: {Path(word).name} is in catalyst-auto's KCONFIG_DIR; name its configuration with --conf"
        release.notices.append(Notice(place, text))
    else:
        hint = "correct the path; relative paths start from the folder of the spec"
        if key.value_type is ValueType.CONFIG:
            hint = "use the base name of a file below KCONFIG_DIR"
        message = f"{name}: {word!r} not found"
        release.problems.append(StagewrightError(Reason.MISSING_FILE, message, place=place, hint=hint))


def _below_given(path: Path, release: Release) -> Path | None:
    """Return the path below a given folder or one of its parents, or None if it exists in none of them."""
    tops = [top for folder in release.folders for top in (folder, *folder.resolve().parents)]
    return next((top / path for top in tops if exists(top / path)), None)


def exists(path: Path) -> bool:
    """Return True if a file exists. False for paths that are not valid."""
    return os.path.exists(path)  # noqa: PTH110  pathlib raises for names that are too long
