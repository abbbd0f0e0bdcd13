"""Keys that all targets have: what is made from what, and how packages are built."""

from __future__ import annotations

import os
from pathlib import Path

from stagewright.catalyst.config import ending
from stagewright.catalyst.convert.conversion import Conversion
from stagewright.catalyst.convert.row import Status, of_structure, refused, row
from stagewright.catalyst.convert.sheet import text
from stagewright.catalyst.keys import Target
from stagewright.catalyst.spec import Entry
from stagewright.catalyst.subarches import subarches

COMPRESSIONS = {"tar.xz": "xz", "tar.zst": "zst", "tar.bz2": "bz2", "tar.gz": "gz", "tar": "none"}
"""What is packed by ending, and our word for it."""

_FLAGS = {"cflags": "CFLAGS", "cxxflags": "CXXFLAGS", "ldflags": "LDFLAGS", "fcflags": "FCFLAGS", "fflags": "FFLAGS"}

EARLY = {Target.STAGE1, Target.STAGE2}
"""Targets whose CHOST and flags are those of their own spec."""

SHIPPING = ("stage2", "stage3", "stage4", "diskimage-stage1")
"""Our kinds whose result can carry a binrepos.conf."""

STARTED = ("amd64", "arm64")
"""Architectures for which media are made (media/efi.py)."""

PACKED = {
    Target.STAGE1,
    Target.STAGE2,
    Target.STAGE3,
    Target.STAGE4,
    Target.EMBEDDED,
    Target.LIVECD1,
    Target.DISKIMAGE1,
}
"""Targets whose result is a tarball."""


def _profile(conversion: Conversion, entry: Entry) -> None:
    conversion.put(conversion.builders, "profile", entry)


def _subarch(conversion: Conversion, entry: Entry) -> None:
    found = subarches().get(entry.text)
    if conversion.target is Target.NETBOOT and found:
        _packed_for_firmware(conversion, entry, found.arch)
    if "image" in conversion.sheets and found and found.arch not in STARTED:
        hint = f"media are made for {' and '.join(STARTED)}"
        conversion.refuse(entry, f"nothing here starts media on {found.arch}", hint)
    for sheet in conversion.builders if found else ():
        for setting, value in (("chost", found.chost), ("common_flags", found.flags)) if found else ():
            if value and setting not in sheet.data:
                sheet.put(setting, text(value), entry.word_place())


def _packed_for_firmware(conversion: Conversion, entry: Entry, arch: str) -> None:
    """What some machines start from the network is one file of kernel and initramfs, which nothing here makes."""
    if arch.startswith("sparc"):
        why = "sparc's firmware takes kernel and initramfs as one a.out (piggyback), and nothing here makes it"
        conversion.refuse(entry, why, "leave the spec out, or make it from what a netboot stage of a project leaves")
    if arch == "hppa":
        words = "kernel and initramfs stay two files; make one .lif of them by palo"
        conversion.say(entry.word_place(), f"subarch: {words}, as for {entry.text} with Catalyst itself")


def _confdir(conversion: Conversion, entry: Entry) -> None:
    for sheet in conversion.builders:
        conversion.add_files(sheet, "confdir", entry)


def _repos(conversion: Conversion, entry: Entry) -> None:
    for number, word in enumerate(entry.words):
        path = Path(os.path.abspath(conversion.spec.file.parent / word))  # noqa: PTH100  links stay as they are
        if path.suffix in (".sqfs", ".squashfs"):
            conversion.refuse(entry, f"{word} is a squashfs file", "unpack it, and name the folder", number)
            continue
        name = _repo_name(path)
        conversion.common.repos.setdefault(name, path)
        if conversion.common.repos[name] != path:
            why = f"{word} and {conversion.common.repos[name]} are both called {name}"
            conversion.refuse(entry, why, "one of them must change its profiles/repo_name", number)
        for sheet in conversion.builders:
            sheet.add("repos", [(name, entry.word_place(number))])


def _repo_name(path: Path) -> str:
    """What a repository calls itself, else the name of its folder."""
    file = path / "profiles" / "repo_name"
    if not os.path.isfile(file):  # noqa: PTH113  pathlib raises for names that are too long
        return path.name
    return file.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip() or path.name


def _compression(conversion: Conversion, entry: Entry) -> None:
    tail = ending(entry.text)
    if tail in COMPRESSIONS:
        conversion.sheets["tar"].put("compression", COMPRESSIONS[tail], entry.word_place())
    else:
        hint = f"choose one that makes {', '.join(COMPRESSIONS)}"
        conversion.refuse(entry, f"results cannot be packed as {ending(entry.text)}", hint)


def _flag(conversion: Conversion, entry: Entry) -> None:
    conversion.put(conversion.builders, f"make_conf.{_FLAGS[entry.key]}", entry)


def _binrepo(conversion: Conversion, entry: Entry) -> None:
    binhost = conversion.common.release.config.binhost
    if not binhost:
        conversion.say(entry.place, "binrepo_path: without a binhost in catalyst.conf it has no effect")
        return
    if conversion.root.data["kind"] in SHIPPING:
        conversion.root.put("binrepo", text(f"{binhost.rstrip('/')}/{entry.text.strip('/')}"), entry.word_place())


def _update_command(conversion: Conversion, entry: Entry) -> None:
    conversion.main.add_words("update_seed_command", entry)


def _update(conversion: Conversion, entry: Entry) -> None:
    conversion.main.put("update_seed", entry.text == "yes", entry.word_place())


def _nothing(conversion: Conversion, entry: Entry) -> None:
    """There is nothing to set: what the key is for is so in any case."""


ROWS = (
    row("target", Status.HONOURED, "kind", "The kinds of stages; media become several entries.", of_structure),
    row(
        "rel_type version_stamp",
        Status.HONOURED,
        "names of entries and files",
        "Files are called and lie as Catalyst has them; entries of the project are called so without the stamp.",
        of_structure,
    ),
    row(
        "snapshot_treeish",
        Status.DIFFERS,
        "repos",
        "The repository of that commit. One run has one snapshot; specs that name different ones are refused.",
        of_structure,
    ),
    row(
        "source_subpath",
        Status.HONOURED,
        "root, live",
        "The entry that makes it in the same run, else a seed from the storedir; of -latest the newest.",
        of_structure,
    ),
    row(
        "decompressor_search_order",
        Status.HONOURED,
        "seeds.*.file",
        "Which of several files of one name is taken as the seed.",
        of_structure,
    ),
    row("profile", Status.HONOURED, "profile", "Also in the form repository:path.", _profile),
    row(
        "subarch",
        Status.DIFFERS,
        "chost, common_flags, seeds.*.arch",
        "CHOST and COMMON_FLAGS by our own table. From stage3 on they are those of the spec that makes the source, as "
        "in Catalyst; of a seed it takes what the make.conf in it says, where we go by the table. Media are made for "
        "amd64 and arm64; those of others are refused. So is netboot for sparc, whose firmware takes one a.out; for "
        "hppa kernel and initramfs stay two files, as with Catalyst for hppa1.1 and hppa2.0.",
        _subarch,
    ),
    row(
        "portage_confdir",
        Status.DIFFERS,
        "confdir",
        "Goes over /etc/portage while packages are built. Nothing of it is left in the result, "
        "where Catalyst leaves all that portage_prefix does not name.",
        _confdir,
    ),
    row(
        "portage_prefix",
        Status.DIFFERS,
        "",
        "There is nothing to remove: no file of portage_confdir is left in a result.",
        _nothing,
    ),
    row(
        "repos",
        Status.DIFFERS,
        "repos",
        "Folders become repositories of the project, by the names they give themselves; squashfs files are refused.",
        _repos,
    ),
    refused("keep_repos", "results carry no repos.conf", "ship one by a root_overlay of a stage4"),
    row(
        "pkgcache_path kerncache_path",
        Status.DIFFERS,
        "",
        "Binary packages and kernels are kept in the store by what they were built from, shared by all specs.",
        _nothing,
    ),
    row(
        "binrepo_path",
        Status.HONOURED,
        "binrepo",
        "With the binhost of catalyst.conf the address in the result's binrepos.conf. Without one it has no effect, "
        "nor for stage1 and embedded, whose clean root it does not reach in Catalyst either, nor for netboot, which "
        "leaves no root.",
        _binrepo,
    ),
    row(
        "compression_mode",
        Status.DIFFERS,
        "tarball compression",
        "By xz, zstd, bzip2 and gzip, or plain tar, the same bytes each time; a squashfs is refused.",
        _compression,
        PACKED,
    ),
    row(
        "compression_mode rename_regexp",
        Status.HONOURED,
        "",
        "They are for tarballs, and this target leaves a folder, in Catalyst too.",
        _nothing,
        {Target.NETBOOT},
    ),
    row(
        "compression_mode",
        Status.DIFFERS,
        "",
        "It is for the tarball that Catalyst leaves beside media, and that one is not made.",
        _nothing,
    ),
    row(
        "rename_regexp",
        Status.HONOURED,
        "names of files",
        "By sed -E, in its sandbox mode.",
        of_structure,
        PACKED,
    ),
    row(
        "rename_regexp",
        Status.DIFFERS,
        "",
        "Only the tarball that Catalyst leaves beside media is renamed by it, and that one is not made.",
        _nothing,
    ),
    row(
        "interpreter",
        Status.DIFFERS,
        "",
        "The kernel gets the emulator for the root's programs; nothing is copied into the root.",
        _nothing,
    ),
    row("install_mask", Status.HONOURED, "install_mask", "INSTALL_MASK.", lambda c, e: c.main.add_words(e.key, e)),
    row(
        "cflags cxxflags ldflags fcflags fflags",
        Status.HONOURED,
        "make_conf",
        "Variables of make.conf, which also ship.",
        _flag,
    ),
    row(
        "common_flags chost",
        Status.HONOURED,
        "common_flags, chost",
        "Instead of those of the sub-architecture.",
        lambda c, e: c.put(c.builders, e.key, e),
    ),
    row(
        "update_seed", Status.HONOURED, "update_seed", "The seed is updated in the layer that is thrown away.", _update
    ),
    row(
        "update_seed_command",
        Status.HONOURED,
        "update_seed_command",
        "Words for emerge. @changed-subslot follows.",
        _update_command,
    ),
)
