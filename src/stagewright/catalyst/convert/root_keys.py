"""Rules for keys that change a root: packages, files, services, users."""

from __future__ import annotations

import re

from stagewright.catalyst.convert.conversion import Conversion
from stagewright.catalyst.convert.entry_draft import text
from stagewright.catalyst.convert.rule import ConversionRule, KeyStatus, rule
from stagewright.catalyst.spec import SpecEntry
from stagewright.catalyst.spec_keys import Target

_NAMED = re.compile(r"(?P<name>[^=]+)(?:=(?P<value>.*))?")

_FETCHES = re.compile(r"\b(?:wget|curl|aria2c|rsync|git\s+(?:clone|fetch|pull)|emerge\s+--sync|emaint\s+sync)\b")
"""Commands of scripts that need a network."""

_VARIABLES = re.compile(r"\bclst_\w+|/tmp/envscript\b")
"""Names that Catalyst provides to scripts."""

WITH_PACKAGES = {Target.STAGE4, Target.LIVECD1, Target.DISKIMAGE1, Target.EMBEDDED, Target.NETBOOT}
"""Targets that install packages."""


def _use(conversion: Conversion, entry: SpecEntry) -> None:
    conversion.main.add_words("use", entry)


def _packages(conversion: Conversion, entry: SpecEntry) -> None:
    for number in conversion.package_words(entry):
        if atom := conversion.atom(entry.words[number], entry, number):
            conversion.main.add("packages", [(atom, entry.word_place(number))])


def _list(name: str) -> ConversionRule:
    """Return the rule for a key that is a list setting with the same name."""
    return rule(f"*/{name}", KeyStatus.HONOURED, name, _WORDS[name], lambda c, e: c.root.add_words(name, e))


_WORDS = {
    "unmerge": "Removed by Portage, also if other packages need them. For livecd and diskimage, emerge --depclean runs "
    "before; see depclean.",
    "rm": "Patterns. Links in the root are never followed out of it. A pattern without matches is reported.",
    "empty": "Folders, and unlike in Catalyst also patterns. A missing folder is reported.",
}


def _script(conversion: Conversion, entry: SpecEntry) -> None:
    place = entry.word_place()
    conversion.root.put("script", conversion.file(entry.text), place)
    network = conversion.context.release.config.fsscript_network
    if network:
        conversion.root.put("script_network", True, place)
    try:
        text = conversion.found(entry.text).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return  # reported as a missing file
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    if not network and (found := _FETCHES.search(lines)):
        remedy = "set fsscript_network = true in a second catalyst.conf to give scripts a network"
        conversion.notice(place, f"{entry.key}: the script runs without network ({found[0].strip()} in it); {remedy}")
    if found := _VARIABLES.search(lines):
        conversion.notice(place, f"{entry.key}: {found[0]} is not set here; Catalyst sets it for scripts")


def _overlay(conversion: Conversion, entry: SpecEntry) -> None:
    conversion.add_files(conversion.root, "root_overlay", entry)


def _services_on(conversion: Conversion, entry: SpecEntry) -> None:
    for number, word in enumerate(entry.words):
        service, _, runlevel = word.partition("|")
        level = text(runlevel or "default")
        if "." in level:
            conversion.refuse(entry, f"invalid runlevel {level!r}", "write service|runlevel", number)
            continue
        conversion.root.add(f"services.runlevels.{level}", [(text(service), entry.word_place(number))])


def _services_off(conversion: Conversion, entry: SpecEntry) -> None:
    for number, word in enumerate(entry.words):
        service = word.partition("|")[0]
        conversion.root.add("services.disable", [(text(service), entry.word_place(number))])


def _users(conversion: Conversion, entry: SpecEntry) -> None:
    for number, word in enumerate(entry.words):
        found = _NAMED.fullmatch(word)
        if not found or "." in found["name"]:
            conversion.refuse(entry, f"invalid user {word!r}", "write name, or name=group,group", number)
            continue
        place = entry.word_place(number)
        path = f"users.{text(found['name'])}.groups"
        conversion.root.put(path, [], place)
        groups = [group for group in (found["value"] or "").split(",") if group]
        conversion.root.add(path, ((text(group), place) for group in groups))


def _groups(conversion: Conversion, entry: SpecEntry) -> None:
    for number, word in enumerate(entry.words):
        if "." in word:
            conversion.refuse(entry, f"invalid name of a group {word!r}", "use letters and digits", number)
            continue
        conversion.root.put(f"groups.{text(word)}", {}, entry.word_place(number))


def _keys(conversion: Conversion, entry: SpecEntry) -> None:
    for number, word in enumerate(entry.words):
        name, separator, file = word.partition("=")
        if not separator or not name or not file or "." in name:
            conversion.refuse(entry, f"must be a user with a file (found {word!r})", "write name=file", number)
            continue
        place = entry.word_place(number)
        conversion.root.add(f"users.{text(name)}.authorized_keys", [(conversion.file(file), place)])


RULES = (
    rule(
        "*/use",
        KeyStatus.HONOURED,
        "use",
        "USE flags, which override those of the profile and portage_confdir. livecd and diskimage also get the flag of "
        "their name.",
        _use,
        WITH_PACKAGES,
    ),
    rule(
        "*/packages",
        KeyStatus.DIFFERS,
        "packages",
        "Atoms. A name without a category gets the only category that has it. Options of emerge that change a result "
        "are refused; for the others a note says why they have no effect. For embedded, dependencies are installed as "
        "well; Catalyst installs the named packages only.",
        _packages,
        WITH_PACKAGES,
    ),
    _list("rm"),
    _list("empty"),
    _list("unmerge"),
    rule(
        "*/fsscript",
        KeyStatus.DIFFERS,
        "script",
        "Run inside the root, by /bin/sh if it has no #! line. It has a network only with fsscript_network = true in a "
        "catalyst.conf (a setting of Stagewright), and no clst_ variables. Scripts that need them are noted.",
        _script,
        {Target.STAGE4, Target.LIVECD2, Target.LIVECD3, Target.DISKIMAGE2},
    ),
    rule(
        "*/root_overlay",
        KeyStatus.DIFFERS,
        "root_overlay",
        "Copied in order, owned by root. A missing folder is an error; Catalyst skips it.",
        _overlay,
        {Target.STAGE4, Target.LIVECD2, Target.LIVECD3, Target.EMBEDDED, Target.NETBOOT},
    ),
    rule(
        "*/rcadd",
        KeyStatus.DIFFERS,
        "services.runlevels",
        "service|runlevel; the default runlevel is default. A service that the root does not have is an error. For "
        "livecd, Catalyst also adds autoconfig and system loggers, and removes iptables, netmount, keymaps, serial and "
        "consolefont: write them into rcadd and rcdel. A missing autoconfig is noted.",
        _services_on,
        {Target.STAGE4, Target.LIVECD2, Target.DISKIMAGE2},
    ),
    rule(
        "*/rcdel",
        KeyStatus.DIFFERS,
        "services.disable",
        "The service is removed from all runlevels, not only from the named one.",
        _services_off,
        {Target.STAGE4, Target.LIVECD2, Target.DISKIMAGE2},
    ),
    rule(
        "*/users",
        KeyStatus.HONOURED,
        "users",
        "name=group,group; Catalyst fails with this form. Home folders are made from /etc/skel.",
        _users,
        {Target.STAGE4},
    ),
    rule("*/groups", KeyStatus.HONOURED, "groups", "Groups with the first free id.", _groups, {Target.STAGE4}),
    rule(
        "*/ssh_public_keys",
        KeyStatus.HONOURED,
        "users.NAME.authorized_keys",
        "name=file. Stagewright creates ~/.ssh, owned by the user.",
        _keys,
        {Target.STAGE4},
    ),
)
