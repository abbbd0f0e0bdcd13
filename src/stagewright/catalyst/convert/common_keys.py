"""Rules for keys that all targets have: inputs, results, and settings of Portage."""

from __future__ import annotations

import os
from pathlib import Path

from stagewright.arch import MEDIA, without_media
from stagewright.catalyst.catalyst_conf import ending
from stagewright.catalyst.convert.conversion import Conversion
from stagewright.catalyst.convert.entry_draft import text
from stagewright.catalyst.convert.rule import KeyStatus, part_of_structure, refused, rule
from stagewright.catalyst.spec import SpecEntry
from stagewright.catalyst.spec_keys import Target
from stagewright.catalyst.subarches import subarches

COMPRESSIONS = {"tar.xz": "xz", "tar.zst": "zst", "tar.bz2": "bz2", "tar.gz": "gz", "tar": "none"}
"""Value of a tarball's ``compression`` by file name ending."""

_FLAGS = {"cflags": "CFLAGS", "cxxflags": "CXXFLAGS", "ldflags": "LDFLAGS", "fcflags": "FCFLAGS", "fflags": "FFLAGS"}

EARLY = {Target.STAGE1, Target.STAGE2}
"""Targets that use the CHOST and flags from the spec itself."""

SHIPPING = ("stage2", "stage3", "stage4", "diskimage-stage1")
"""Kinds of stages whose result can contain a binrepos.conf and files of a confdir."""

TARBALL_TARGETS = {
    Target.STAGE1,
    Target.STAGE2,
    Target.STAGE3,
    Target.STAGE4,
    Target.EMBEDDED,
    Target.LIVECD1,
    Target.DISKIMAGE1,
}
"""Targets whose result is a tarball."""


def _profile(conversion: Conversion, entry: SpecEntry) -> None:
    conversion.put(conversion.builders, "profile", entry)


def _subarch(conversion: Conversion, entry: SpecEntry) -> None:
    found = subarches().get(entry.text)
    if conversion.target is Target.NETBOOT and found:
        _packed_for_firmware(conversion, entry, found.arch)
    if "image" in conversion.drafts and found and (problem := without_media(found.arch)):
        conversion.refuse(entry, problem[0], f"use a subarch of {' or '.join(MEDIA)}")
        conversion.context.without_media.add(conversion.spec.file)
    for draft in conversion.builders if found else ():
        for setting, value in (("chost", found.chost), ("common_flags", found.flags)) if found else ():
            if value and setting not in draft.data:
                draft.put(setting, text(value), entry.word_place())


def _packed_for_firmware(conversion: Conversion, entry: SpecEntry, arch: str) -> None:
    """Refuse sparc and add a notice for hppa, whose firmware boots kernel and initramfs as one file."""
    if arch.startswith("sparc"):
        why = "sparc's firmware needs kernel and initramfs as one a.out file (piggyback), which is not supported"
        conversion.refuse(entry, why, "remove the spec, or make the file from a netboot stage's result")
    if arch == "hppa":
        words = "kernel and initramfs stay two files; make a .lif of them with palo"
        conversion.notice(entry.word_place(), f"subarch: {words}, as for {entry.text} in Catalyst")


def _confdir(conversion: Conversion, entry: SpecEntry) -> None:
    for draft in conversion.builders:
        conversion.add_files(draft, "confdir", entry)
    if conversion.root.data["kind"] in SHIPPING:
        conversion.root.put("ship_confdir", True, entry.word_place())


def _prefix(conversion: Conversion, entry: SpecEntry) -> None:
    if conversion.root.data["kind"] in SHIPPING:
        conversion.put([conversion.root], "confdir_prefix", entry)


def _repos(conversion: Conversion, entry: SpecEntry) -> None:
    for number, word in enumerate(entry.words):
        path = Path(os.path.abspath(conversion.spec.file.parent / word))  # noqa: PTH100  keeps symbolic links
        if path.suffix in (".sqfs", ".squashfs"):
            hint = "unpack it, and name the folder"
            conversion.refuse(entry, f"{word}: squashfs files are not supported", hint, number)
            continue
        name = _repo_name(path)
        conversion.context.repos.setdefault(name, path)
        if conversion.context.repos[name] != path:
            why = f"{word} and {conversion.context.repos[name]} have the same name {name!r}"
            conversion.refuse(entry, why, "change profiles/repo_name of one of them", number)
        for draft in conversion.builders:
            draft.add("repos", [(name, entry.word_place(number))])


def _repo_name(path: Path) -> str:
    """Return the name of a repository from profiles/repo_name, or else the name of its folder."""
    file = path / "profiles" / "repo_name"
    if not os.path.isfile(file):  # noqa: PTH113  pathlib raises for names that are too long
        return path.name
    return file.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip() or path.name


def _compression(conversion: Conversion, entry: SpecEntry) -> None:
    tail = ending(entry.text)
    if tail in COMPRESSIONS:
        conversion.drafts["tar"].put("compression", COMPRESSIONS[tail], entry.word_place())
    else:
        hint = f"choose a mode for {', '.join(COMPRESSIONS)}"
        conversion.refuse(entry, f"results cannot be packed as {ending(entry.text)}", hint)


def _flag(conversion: Conversion, entry: SpecEntry) -> None:
    conversion.put(conversion.builders, f"make_conf.{_FLAGS[entry.key]}", entry)


def _binrepo(conversion: Conversion, entry: SpecEntry) -> None:
    binhost = conversion.context.release.config.binhost
    if not binhost:
        conversion.notice(entry.place, "binrepo_path: ignored, catalyst.conf has no binhost")
        return
    if conversion.root.data["kind"] in SHIPPING:
        conversion.root.put("binrepo", text(f"{binhost.rstrip('/')}/{entry.text.strip('/')}"), entry.word_place())


def _update_command(conversion: Conversion, entry: SpecEntry) -> None:
    conversion.main.add_words("update_seed_command", entry)


def _update(conversion: Conversion, entry: SpecEntry) -> None:
    conversion.main.put("update_seed", entry.text == "yes", entry.word_place())


def _no_setting(conversion: Conversion, entry: SpecEntry) -> None:
    """Do nothing: the key needs no setting."""


RULES = (
    rule(
        "target", KeyStatus.HONOURED, "kind", "The kind of the stage. Media become several entries.", part_of_structure
    ),
    rule(
        "rel_type version_stamp",
        KeyStatus.HONOURED,
        "names of entries and files",
        "Files have the names and folders that Catalyst gives them. Entries of the project have these names without "
        "the stamp.",
        part_of_structure,
    ),
    rule(
        "snapshot_treeish",
        KeyStatus.DIFFERS,
        "repos",
        "The repository at that commit. A run has one snapshot: specs that name another one are refused.",
        part_of_structure,
    ),
    rule(
        "source_subpath",
        KeyStatus.HONOURED,
        "root, live",
        "The entry that makes it in the same run, or else a seed from the storedir. For -latest the newest one.",
        part_of_structure,
    ),
    rule(
        "decompressor_search_order",
        KeyStatus.HONOURED,
        "seeds.*.file",
        "Selects the seed if several files have its name.",
        part_of_structure,
    ),
    rule("profile", KeyStatus.HONOURED, "profile", "The form repository:path works, too.", _profile),
    rule(
        "subarch",
        KeyStatus.DIFFERS,
        "chost, common_flags, seeds.*.arch",
        "CHOST and COMMON_FLAGS from Stagewright's table. From stage3 on they come from the spec that makes the "
        "source, as in Catalyst. For a seed Catalyst reads the make.conf in it, but Stagewright uses its table. Media "
        "are made for amd64 and arm64 and refused for others. netboot is refused for sparc, whose firmware needs one "
        "a.out file. For hppa kernel and initramfs stay two files, as in Catalyst for hppa1.1 and hppa2.0.",
        _subarch,
    ),
    rule(
        "portage_confdir",
        KeyStatus.DIFFERS,
        "confdir, ship_confdir",
        "Copied over /etc/portage while packages are built. As in Catalyst, results keep its files, except patches, "
        "make.conf and those that portage_prefix names; the result of a stage1 keeps none. Later specs are built with "
        "their own portage_confdir only, not with what their source kept.",
        _confdir,
    ),
    rule(
        "portage_prefix",
        KeyStatus.HONOURED,
        "",
        "Not needed: the result never has files of portage_confdir, as in Catalyst.",
        _no_setting,
        {Target.STAGE1, Target.EMBEDDED, Target.NETBOOT},
    ),
    rule(
        "portage_prefix",
        KeyStatus.HONOURED,
        "confdir_prefix",
        "Files and folders of that name in package.use, package.env, env and so on are not in the result.",
        _prefix,
    ),
    rule(
        "repos",
        KeyStatus.DIFFERS,
        "repos",
        "Folders become repositories of the project with the names in profiles/repo_name. Squashfs files are refused.",
        _repos,
    ),
    refused("keep_repos", "results contain no repos.conf", "add it by a root_overlay of a stage4"),
    rule(
        "pkgcache_path kerncache_path",
        KeyStatus.DIFFERS,
        "",
        "Not needed: the store keeps binary packages and kernels by their inputs and shares them between all specs.",
        _no_setting,
    ),
    rule(
        "binrepo_path",
        KeyStatus.HONOURED,
        "binrepo",
        "Together with the binhost of catalyst.conf, the address in the result's binrepos.conf. Ignored without a "
        "binhost, for stage1 and embedded (as in Catalyst), and for netboot, whose result is not a root.",
        _binrepo,
    ),
    rule(
        "compression_mode",
        KeyStatus.DIFFERS,
        "tarball compression",
        "xz, zstd, bzip2, gzip or plain tar, with reproducible bytes. A squashfs is refused.",
        _compression,
        TARBALL_TARGETS,
    ),
    rule(
        "compression_mode rename_regexp",
        KeyStatus.HONOURED,
        "",
        "Ignored as in Catalyst: they apply to tarballs, and this target makes a folder.",
        _no_setting,
        {Target.NETBOOT},
    ),
    rule(
        "compression_mode",
        KeyStatus.DIFFERS,
        "",
        "Ignored: it applies to the tarball that Catalyst makes in addition to media. Stagewright does not make it.",
        _no_setting,
    ),
    rule(
        "rename_regexp",
        KeyStatus.HONOURED,
        "names of files",
        "Run by sed -E in its sandbox mode.",
        part_of_structure,
        TARBALL_TARGETS,
    ),
    rule(
        "rename_regexp",
        KeyStatus.DIFFERS,
        "",
        "Ignored: it renames the tarball that Catalyst makes in addition to media. Stagewright does not make it.",
        _no_setting,
    ),
    rule(
        "interpreter",
        KeyStatus.DIFFERS,
        "",
        "Not needed: Stagewright registers the emulator in the kernel and copies nothing into the root.",
        _no_setting,
    ),
    rule("install_mask", KeyStatus.HONOURED, "install_mask", "INSTALL_MASK.", lambda c, e: c.main.add_words(e.key, e)),
    rule(
        "cflags cxxflags ldflags fcflags fflags",
        KeyStatus.HONOURED,
        "make_conf",
        "Variables of make.conf, also in the result.",
        _flag,
    ),
    rule(
        "common_flags chost",
        KeyStatus.HONOURED,
        "common_flags, chost",
        "Override those of the sub-architecture.",
        lambda c, e: c.put(c.builders, e.key, e),
    ),
    rule(
        "update_seed",
        KeyStatus.HONOURED,
        "update_seed",
        "The seed is updated in the layer that is thrown away.",
        _update,
    ),
    rule(
        "update_seed_command",
        KeyStatus.HONOURED,
        "update_seed_command",
        "Arguments of emerge.",
        _update_command,
    ),
)
