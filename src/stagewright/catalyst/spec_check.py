"""What is wrong with specs, each by itself: keys, their words, names, and the files that they name."""

from __future__ import annotations

import os
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
"""Folders of the machines that official releases are made on: storedir, sharedir, the checkout of the specs."""

_DISKIMAGES = ("generic", "console", "ssh", "cloud-init")
_VOLID = 32
_CHECKOUT = "@REPO_DIR@/"


def check_member(member: Member, release: Release) -> None:
    """Check one spec by itself; what is wrong and what is worth a notice is added to the release."""
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
    if not word:
        hint = f"write target: and one of {', '.join(Target)}"
        return StagewrightError(Reason.MISSING_KEY, "target is missing", place=spec.place("target"), hint=hint)
    message = f"target: Catalyst has no target {word!r}"
    return StagewrightError(Reason.UNKNOWN_KIND, message, place=spec.place("target"), hint=nearest(word, Target))


def _keys(member: Member, target: Target) -> Iterator[StagewrightError]:
    """Keys that the target does not take, and required ones that are missing."""
    spec = member.spec
    for name, entry in spec.entries.items():
        if name not in member.keys:
            yield _unknown(name, entry, member, target)
    for name, key in target.keys.items():
        if target in key.required and name != "target" and not spec.words(name):
            hint = f"write {name}: {key.meaning}"
            message = f"{name} is missing, which {target} needs"
            yield StagewrightError(Reason.MISSING_KEY, message, place=spec.place("target"), hint=hint)


def _unknown(name: str, entry: SpecEntry, member: Member, target: Target) -> StagewrightError:
    message = f"{name!r}: {target} takes no such key"
    other = next((key for key in target.keys.values() if key.matches(name)), None)
    bare = name.strip().lower()
    if other:
        part = next(part for part in PLACEHOLDERS if part in other.name)
        message = f"{name!r}: {PLACEHOLDERS[part]} does not name this {part.strip('<>')}"
        before, _, after = other.name.partition(part)
        word = name[len(before) : len(name) - len(after)]
        list_key = PLACEHOLDERS[part]
        hint = f"add {word!r} to {list_key}, or correct the name: {nearest(word, member.spec.words(list_key))}"
    elif bare in REMOVED_KEYS:
        hint = REMOVED_KEYS[bare]
    elif bare in member.keys:
        hint = f"write {bare!r}: blanks before the colon and capitals are part of a key"
    elif entry.place.column > 1 or (entry.words and "/" in name and entry.word_place().column == _after(entry)):
        hint = "in a list, a word with a colon must stand on the line of the list's key: any colon makes a key"
    else:
        hint = nearest(name, member.keys)
    return StagewrightError(Reason.UNKNOWN_KEY, message, place=entry.place, hint=hint)


def _after(entry: SpecEntry) -> int:
    """The column right after the colon of a key, where slots of atoms stand, and values do not."""
    return entry.place.column + len(entry.key) + 1


def _words(member: Member) -> Iterator[StagewrightError]:
    """Values of the wrong shape."""
    for name, entry in member.spec.entries.items():
        key = member.keys.get(name)
        if key is None or entry.value is None:
            continue
        if key.value_type.single and len(entry.words) > 1:
            message = f"{name} takes one word, and these are {len(entry.words)}"
            hint = "lines without a colon go on with the key above" if _many_lines(entry) else "write one word"
            yield StagewrightError(Reason.INVALID_VALUE, message, place=entry.word_place(1), hint=hint)
        elif problem := _value(name, key, entry):
            message, hint = problem
            yield StagewrightError(Reason.INVALID_VALUE, f"{name}: {message}", place=entry.word_place(), hint=hint)


def _many_lines(entry: SpecEntry) -> bool:
    return len({line for line, _ in entry.spots}) > 1


def _value(name: str, key: SpecKey, entry: SpecEntry) -> tuple[str, str] | None:
    """What is wrong with a value, and what to do."""
    text = entry.text
    if TOKEN.search(text):
        return None
    if key.value_type is ValueType.YES and text not in ("yes", "no"):
        return f"{text!r} is neither yes nor no", "Catalyst compares it with the word yes"
    if name == "compression_mode" and ending(text) is None:
        return f"there is no mode {text!r}", nearest(text, ENDINGS)
    if name == "diskimage/type" and text not in _DISKIMAGES:
        return f"there is no type {text!r}", nearest(text, _DISKIMAGES)
    if name.endswith("/volid") and len(text) > _VOLID:
        return f"{len(text)} characters, and {_VOLID} have room in an ISO", "write a shorter one"
    return None


def _names(member: Member) -> Iterator[StagewrightError]:
    """Names that must be known, and parts of an identity that cannot be."""
    spec = member.spec
    subarch = spec.text("subarch")
    if subarch and " " not in subarch and not TOKEN.search(subarch) and subarch not in subarches():
        message = f"subarch: there is no sub-architecture {subarch!r}"
        hint = nearest(subarch, subarches())
        yield StagewrightError(Reason.UNKNOWN_NAME, message, place=spec.place("subarch"), hint=hint)
    stamp = spec.text("version_stamp")
    if "/" in stamp:
        message = f"version_stamp: {stamp!r} would be a folder"
        yield StagewrightError(Reason.INVALID_VALUE, message, place=spec.place("version_stamp"), hint="write no /")


def _ignored(member: Member, target: Target) -> Iterator[Notice]:
    """Keys that Catalyst takes, and makes nothing of."""
    for name, entry in member.spec.entries.items():
        key = member.keys.get(name)
        if key and target not in key.effective:
            yield Notice(entry.place, f"{name}: Catalyst takes it for {target}, and it has no effect there")


def _files(member: Member, release: Release) -> None:
    """Files that must be there. Those of other machines are looked for below the given folders."""
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
    """The file that a word of a spec means.

    Relative ones start from the folder of the spec, kernel configurations are found by their base name as catalyst-auto
    finds them, and those of other machines below the given folders. Where none is there, it is the one of the spec.
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
    """The folder of another machine, storedir or sharedir that a path leads into."""
    tops = (*ELSEWHERE, release.config.storedir, release.config.sharedir)
    return next((top for top in tops if Path(word).is_relative_to(top)), None)


def _elsewhere(name: str, key: SpecKey, word: str, place: Place, release: Release) -> None:
    """A file that is not where the spec says."""
    top = _top(word, release)
    found = _below_given(Path(word).relative_to(top), release) if top else None
    if found:
        release.notices.append(Notice(place, f"{name}: {word} is not here; {found} is taken"))
    elif top:
        release.notices.append(Notice(place, f"{name}: {word} is not on this machine"))
    elif key.value_type is ValueType.CONFIG and not any(auto.kconfig_dir for auto in release.autos):
        text = f"{name}: catalyst-auto finds {Path(word).name} in its KCONFIG_DIR; give its configuration with --conf"
        release.notices.append(Notice(place, text))
    else:
        hint = "mend the path; relative ones start from the folder of the spec"
        if key.value_type is ValueType.CONFIG:
            hint = "its base name must be that of a file below KCONFIG_DIR"
        message = f"{name}: {word!r} is not there"
        release.problems.append(StagewrightError(Reason.MISSING_FILE, message, place=place, hint=hint))


def _below_given(path: Path, release: Release) -> Path | None:
    """The path below a folder that was given, or below one above it."""
    tops = [top for folder in release.folders for top in (folder, *folder.resolve().parents)]
    return next((top / path for top in tops if exists(top / path)), None)


def exists(path: Path) -> bool:
    """Whether there is such a file; False for names that no file can have."""
    return os.path.exists(path)  # noqa: PTH110  pathlib raises for names that are too long
