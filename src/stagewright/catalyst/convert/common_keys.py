"""Keys that all targets have: what is made from what, and how packages are built."""

from __future__ import annotations

import os
from pathlib import Path

from stagewright.catalyst.catalyst_conf import ending
from stagewright.catalyst.convert.conversion import Conversion
from stagewright.catalyst.convert.entry_draft import text
from stagewright.catalyst.convert.rule import KeyStatus, part_of_structure, refused, rule
from stagewright.catalyst.spec import SpecEntry
from stagewright.catalyst.spec_keys import Target
from stagewright.catalyst.subarches import subarches

COMPRESSIONS = {"tar.xz": "xz", "tar.zst": "zst", "tar.bz2": "bz2", "tar.gz": "gz", "tar": "none"}
"""What is packed by ending, and our word for it."""

_FLAGS = {"cflags": "CFLAGS", "cxxflags": "CXXFLAGS", "ldflags": "LDFLAGS", "fcflags": "FCFLAGS", "fflags": "FFLAGS"}

EARLY = {Target.STAGE1, Target.STAGE2}
"""Targets whose CHOST and flags are those of their own spec."""

SHIPPING = ("stage2", "stage3", "stage4", "diskimage-stage1")
"""Our kinds whose result can carry a binrepos.conf."""

BOOTABLE_ARCHES = ("amd64", "arm64")
"""Architectures for which media are made (media/efi.py)."""

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
    if "image" in conversion.drafts and found and found.arch not in BOOTABLE_ARCHES:
        hint = f"media are made for {' and '.join(BOOTABLE_ARCHES)}"
        conversion.refuse(entry, f"nothing here starts media on {found.arch}", hint)
    for draft in conversion.builders if found else ():
        for setting, value in (("chost", found.chost), ("common_flags", found.flags)) if found else ():
            if value and setting not in draft.data:
                draft.put(setting, text(value), entry.word_place())


def _packed_for_firmware(conversion: Conversion, entry: SpecEntry, arch: str) -> None:
    """What some machines start from the network is one file of kernel and initramfs, which nothing here makes."""
    if arch.startswith("sparc"):
        why = "sparc's firmware takes kernel and initramfs as one a.out (piggyback), and nothing here makes it"
        conversion.refuse(entry, why, "leave the spec out, or make it from what a netboot stage of a project leaves")
    if arch == "hppa":
        words = "kernel and initramfs stay two files; make one .lif of them by palo"
        conversion.notice(entry.word_place(), f"subarch: {words}, as for {entry.text} with Catalyst itself")


def _confdir(conversion: Conversion, entry: SpecEntry) -> None:
    for draft in conversion.builders:
        conversion.add_files(draft, "confdir", entry)


def _repos(conversion: Conversion, entry: SpecEntry) -> None:
    for number, word in enumerate(entry.words):
        path = Path(os.path.abspath(conversion.spec.file.parent / word))  # noqa: PTH100  links stay as they are
        if path.suffix in (".sqfs", ".squashfs"):
            conversion.refuse(entry, f"{word} is a squashfs file", "unpack it, and name the folder", number)
            continue
        name = _repo_name(path)
        conversion.context.repos.setdefault(name, path)
        if conversion.context.repos[name] != path:
            why = f"{word} and {conversion.context.repos[name]} are both called {name}"
            conversion.refuse(entry, why, "one of them must change its profiles/repo_name", number)
        for draft in conversion.builders:
            draft.add("repos", [(name, entry.word_place(number))])


def _repo_name(path: Path) -> str:
    """What a repository calls itself, else the name of its folder."""
    file = path / "profiles" / "repo_name"
    if not os.path.isfile(file):  # noqa: PTH113  pathlib raises for names that are too long
        return path.name
    return file.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip() or path.name


def _compression(conversion: Conversion, entry: SpecEntry) -> None:
    tail = ending(entry.text)
    if tail in COMPRESSIONS:
        conversion.drafts["tar"].put("compression", COMPRESSIONS[tail], entry.word_place())
    else:
        hint = f"choose one that makes {', '.join(COMPRESSIONS)}"
        conversion.refuse(entry, f"results cannot be packed as {ending(entry.text)}", hint)


def _flag(conversion: Conversion, entry: SpecEntry) -> None:
    conversion.put(conversion.builders, f"make_conf.{_FLAGS[entry.key]}", entry)


def _binrepo(conversion: Conversion, entry: SpecEntry) -> None:
    binhost = conversion.context.release.config.binhost
    if not binhost:
        conversion.notice(entry.place, "binrepo_path: without a binhost in catalyst.conf it has no effect")
        return
    if conversion.root.data["kind"] in SHIPPING:
        conversion.root.put("binrepo", text(f"{binhost.rstrip('/')}/{entry.text.strip('/')}"), entry.word_place())


def _update_command(conversion: Conversion, entry: SpecEntry) -> None:
    conversion.main.add_words("update_seed_command", entry)


def _update(conversion: Conversion, entry: SpecEntry) -> None:
    conversion.main.put("update_seed", entry.text == "yes", entry.word_place())


def _nothing(conversion: Conversion, entry: SpecEntry) -> None:
    """There is nothing to set: what the key is for is so in any case."""


RULES = (
    rule("target", KeyStatus.HONOURED, "kind", "The kinds of stages; media become several entries.", part_of_structure),
    rule(
        "rel_type version_stamp",
        KeyStatus.HONOURED,
        "names of entries and files",
        "Files are called and lie as Catalyst has them; entries of the project are called so without the stamp.",
        part_of_structure,
    ),
    rule(
        "snapshot_treeish",
        KeyStatus.DIFFERS,
        "repos",
        "The repository of that commit. One run has one snapshot; specs that name different ones are refused.",
        part_of_structure,
    ),
    rule(
        "source_subpath",
        KeyStatus.HONOURED,
        "root, live",
        "The entry that makes it in the same run, else a seed from the storedir; of -latest the newest.",
        part_of_structure,
    ),
    rule(
        "decompressor_search_order",
        KeyStatus.HONOURED,
        "seeds.*.file",
        "Which of several files of one name is taken as the seed.",
        part_of_structure,
    ),
    rule("profile", KeyStatus.HONOURED, "profile", "Also in the form repository:path.", _profile),
    rule(
        "subarch",
        KeyStatus.DIFFERS,
        "chost, common_flags, seeds.*.arch",
        "CHOST and COMMON_FLAGS by our own table. From stage3 on they are those of the spec that makes the source, as "
        "in Catalyst; of a seed it takes what the make.conf in it says, where we go by the table. Media are made for "
        "amd64 and arm64; those of others are refused. So is netboot for sparc, whose firmware takes one a.out; for "
        "hppa kernel and initramfs stay two files, as with Catalyst for hppa1.1 and hppa2.0.",
        _subarch,
    ),
    rule(
        "portage_confdir",
        KeyStatus.DIFFERS,
        "confdir",
        "Goes over /etc/portage while packages are built. Nothing of it is left in the result, "
        "where Catalyst leaves all that portage_prefix does not name.",
        _confdir,
    ),
    rule(
        "portage_prefix",
        KeyStatus.DIFFERS,
        "",
        "There is nothing to remove: no file of portage_confdir is left in a result.",
        _nothing,
    ),
    rule(
        "repos",
        KeyStatus.DIFFERS,
        "repos",
        "Folders become repositories of the project, by the names they give themselves; squashfs files are refused.",
        _repos,
    ),
    refused("keep_repos", "results carry no repos.conf", "ship one by a root_overlay of a stage4"),
    rule(
        "pkgcache_path kerncache_path",
        KeyStatus.DIFFERS,
        "",
        "Binary packages and kernels are kept in the store by what they were built from, shared by all specs.",
        _nothing,
    ),
    rule(
        "binrepo_path",
        KeyStatus.HONOURED,
        "binrepo",
        "With the binhost of catalyst.conf the address in the result's binrepos.conf. Without one it has no effect, "
        "nor for stage1 and embedded, whose clean root it does not reach in Catalyst either, nor for netboot, which "
        "leaves no root.",
        _binrepo,
    ),
    rule(
        "compression_mode",
        KeyStatus.DIFFERS,
        "tarball compression",
        "By xz, zstd, bzip2 and gzip, or plain tar, the same bytes each time; a squashfs is refused.",
        _compression,
        TARBALL_TARGETS,
    ),
    rule(
        "compression_mode rename_regexp",
        KeyStatus.HONOURED,
        "",
        "They are for tarballs, and this target leaves a folder, in Catalyst too.",
        _nothing,
        {Target.NETBOOT},
    ),
    rule(
        "compression_mode",
        KeyStatus.DIFFERS,
        "",
        "It is for the tarball that Catalyst leaves beside media, and that one is not made.",
        _nothing,
    ),
    rule(
        "rename_regexp",
        KeyStatus.HONOURED,
        "names of files",
        "By sed -E, in its sandbox mode.",
        part_of_structure,
        TARBALL_TARGETS,
    ),
    rule(
        "rename_regexp",
        KeyStatus.DIFFERS,
        "",
        "Only the tarball that Catalyst leaves beside media is renamed by it, and that one is not made.",
        _nothing,
    ),
    rule(
        "interpreter",
        KeyStatus.DIFFERS,
        "",
        "The kernel gets the emulator for the root's programs; nothing is copied into the root.",
        _nothing,
    ),
    rule("install_mask", KeyStatus.HONOURED, "install_mask", "INSTALL_MASK.", lambda c, e: c.main.add_words(e.key, e)),
    rule(
        "cflags cxxflags ldflags fcflags fflags",
        KeyStatus.HONOURED,
        "make_conf",
        "Variables of make.conf, which also ship.",
        _flag,
    ),
    rule(
        "common_flags chost",
        KeyStatus.HONOURED,
        "common_flags, chost",
        "Instead of those of the sub-architecture.",
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
        "Words for emerge. @changed-subslot follows.",
        _update_command,
    ),
)
