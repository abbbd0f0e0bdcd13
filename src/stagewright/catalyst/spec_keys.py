"""Table of Catalyst's targets and the keys of their specs: Catalyst 4.1, and 0xdc's livecd-stage3.

In a name, ``<kernel>`` stands for each word of ``boot/kernel``, and ``<package>`` for each of ``netboot/packages``.
Catalyst rejects keys that a target does not have. It accepts some keys and ignores them.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass


class Target(enum.StrEnum):
    """The kind of result that a spec makes."""

    SNAPSHOT = "snapshot"
    STAGE1 = "stage1"
    STAGE2 = "stage2"
    STAGE3 = "stage3"
    STAGE4 = "stage4"
    EMBEDDED = "embedded"
    LIVECD1 = "livecd-stage1"
    LIVECD2 = "livecd-stage2"
    LIVECD3 = "livecd-stage3"
    NETBOOT = "netboot"
    DISKIMAGE1 = "diskimage-stage1"
    DISKIMAGE2 = "diskimage-stage2"

    @property
    def keys(self) -> Mapping[str, SpecKey]:
        """Valid keys of its specs by name."""
        return _keys_of(self)


class ValueType(enum.StrEnum):
    """The type of a key's value."""

    WORD = "word"
    TEXT = "text"  # words with spaces between them
    LIST = "list"
    YES = "yes or no"
    PATH = "path"  # of an existing file or folder
    PATHS = "paths"
    OUTPUT = "output"  # path of a result
    CONFIG = "kernel configuration"

    @property
    def single(self) -> bool:
        """True if the value is exactly one word."""
        return self not in (ValueType.TEXT, ValueType.LIST, ValueType.PATHS)

    @property
    def path(self) -> bool:
        """True if the words are paths of files or folders that must exist."""
        return self in (ValueType.PATH, ValueType.PATHS, ValueType.CONFIG)


@dataclass(frozen=True)
class SpecKey:
    """A key: targets that accept it, targets that require it, and targets where Catalyst does not ignore it."""

    name: str
    value_type: ValueType
    meaning: str
    targets: frozenset[Target]
    required: frozenset[Target] = frozenset()
    effective: frozenset[Target] = frozenset()

    def matches(self, name: str) -> bool:
        """Return True if this is the key of a name in a spec."""
        return bool(_pattern(self.name).fullmatch(name))


T = Target
_STAGES = frozenset(T) - {T.SNAPSHOT}
_EARLY = {T.STAGE1, T.STAGE2}
_KERNEL = {T.STAGE4, T.EMBEDDED, T.LIVECD2, T.LIVECD3, T.NETBOOT, T.DISKIMAGE2}
_KERNEL_BUILT = _KERNEL - {T.LIVECD3}
_PREFIXES = {
    T.LIVECD1: "livecd",
    T.LIVECD2: "livecd",
    T.LIVECD3: "livecd",
    T.DISKIMAGE1: "diskimage",
    T.DISKIMAGE2: "diskimage",
}


def _key(
    name: str,
    value_type: ValueType,
    meaning: str,
    targets: set[Target] | frozenset[Target],
    required: set[Target] | frozenset[Target] = frozenset(),
    *,
    effective: set[Target] | frozenset[Target] | None = None,
) -> SpecKey:
    works = targets if effective is None else effective
    return SpecKey(name, value_type, meaning, frozenset(targets), frozenset(required), frozenset(works))


def _own(
    name: str,
    value_type: ValueType,
    meaning: str,
    targets: set[Target],
    required: set[Target] | frozenset[Target] = frozenset(),
    *,
    effective: set[Target] | None = None,
) -> list[SpecKey]:
    """Return keys with the prefixes of their targets: ``stage4/rm``, ``livecd/rm``."""
    rows: list[SpecKey] = []
    for prefix in sorted({_PREFIXES.get(target, target.value) for target in targets}):
        mine = {target for target in targets if _PREFIXES.get(target, target.value) == prefix}
        works = mine if effective is None else mine & effective
        rows.append(_key(f"{prefix}/{name}", value_type, meaning, mine, mine & required, effective=works))
    return rows


KEYS: tuple[SpecKey, ...] = (
    _key("target", ValueType.WORD, "what the spec makes", frozenset(T), frozenset(T)),
    _key("subarch", ValueType.WORD, "the sub-architecture: CHOST and flags", _STAGES, _STAGES),
    _key("version_stamp", ValueType.WORD, "the last part of the result's name", _STAGES, _STAGES),
    _key("rel_type", ValueType.WORD, "the result's folder below builds", _STAGES, _STAGES),
    _key(
        "profile", ValueType.WORD, "the profile, relative to the repository's profiles", _STAGES, _STAGES - {T.LIVECD3}
    ),
    _key("snapshot_treeish", ValueType.WORD, "the commit of the ebuild repository", frozenset(T), frozenset(T)),
    _key("source_subpath", ValueType.WORD, "the input, relative to builds", _STAGES, _STAGES),
    _key("portage_confdir", ValueType.PATH, "a folder that is copied over /etc/portage", _STAGES),
    _key("portage_prefix", ValueType.WORD, "the name of the entries of portage_confdir to remove at the end", _STAGES),
    _key("repos", ValueType.PATHS, "more ebuild repositories: folders or squashfs files", _STAGES),
    _key("keep_repos", ValueType.LIST, "repositories whose repos.conf stays in the result", _STAGES),
    _key("pkgcache_path", ValueType.OUTPUT, "the folder for binary packages", _STAGES),
    _key("kerncache_path", ValueType.OUTPUT, "the folder for built kernels", _STAGES),
    _key("binrepo_path", ValueType.WORD, "the path below the binhost for the result's binrepos.conf", _STAGES),
    _key("compression_mode", ValueType.WORD, "the compression of the result", _STAGES),
    _key("decompressor_search_order", ValueType.LIST, "the endings to try for source_subpath", _STAGES),
    _key("rename_regexp", ValueType.TEXT, "a sed -E script for the name of the result", _STAGES),
    _key("interpreter", ValueType.LIST, "qemu-user programs for foreign architectures", _STAGES),
    _key("install_mask", ValueType.LIST, "INSTALL_MASK", _STAGES, effective={T.EMBEDDED}),
    _key("cflags", ValueType.TEXT, "CFLAGS", _STAGES, effective=_EARLY),
    _key("cxxflags", ValueType.TEXT, "CXXFLAGS", _STAGES, effective=_EARLY),
    _key("ldflags", ValueType.TEXT, "LDFLAGS", _STAGES, effective=_EARLY),
    _key("common_flags", ValueType.TEXT, "COMMON_FLAGS", _STAGES, effective={T.STAGE1}),
    _key("fcflags", ValueType.TEXT, "FCFLAGS", _STAGES, effective={T.STAGE1}),
    _key("fflags", ValueType.TEXT, "FFLAGS", _STAGES, effective={T.STAGE1}),
    _key("asflags", ValueType.TEXT, "ASFLAGS", _STAGES, effective=frozenset()),
    _key("catalyst_use", ValueType.LIST, "USE while building", _STAGES, effective=frozenset()),
    _key("hostuse", ValueType.LIST, "USE of the sub-architecture", _STAGES, effective=frozenset()),
    _key("cbuild", ValueType.WORD, "CBUILD", _STAGES, effective=frozenset()),
    _key("chost", ValueType.WORD, "CHOST", _EARLY),
    _key("update_seed", ValueType.YES, "yes: update the seed first", {T.STAGE1}),
    _key("update_seed_command", ValueType.TEXT, "arguments of emerge for the update", {T.STAGE1}),
    *_own(
        "packages",
        ValueType.LIST,
        "packages to install",
        {T.STAGE4, T.LIVECD1, T.DISKIMAGE1, T.EMBEDDED, T.NETBOOT},
        {T.STAGE4, T.LIVECD1, T.DISKIMAGE1},
    ),
    *_own("use", ValueType.LIST, "USE", {T.STAGE4, T.LIVECD1, T.DISKIMAGE1, T.EMBEDDED, T.NETBOOT}),
    *_own("fsscript", ValueType.PATH, "a script to run in the root", {T.STAGE4, T.LIVECD2, T.LIVECD3, T.DISKIMAGE2}),
    *_own(
        "root_overlay",
        ValueType.PATHS,
        "folders that are copied over the root",
        {T.STAGE4, T.LIVECD2, T.LIVECD3, T.EMBEDDED, T.NETBOOT},
    ),
    *_own("rcadd", ValueType.LIST, "services to start, as service|runlevel", {T.STAGE4, T.LIVECD2, T.DISKIMAGE2}),
    *_own("rcdel", ValueType.LIST, "services to disable, as service|runlevel", {T.STAGE4, T.LIVECD2, T.DISKIMAGE2}),
    *_own(
        "unmerge",
        ValueType.LIST,
        "packages to remove at the end",
        {T.STAGE4, T.LIVECD2, T.DISKIMAGE2, T.EMBEDDED},
        effective={T.STAGE4, T.LIVECD2, T.DISKIMAGE2},
    ),
    *_own(
        "rm", ValueType.LIST, "files to remove, as patterns", {T.STAGE4, T.LIVECD2, T.LIVECD3, T.DISKIMAGE2, T.EMBEDDED}
    ),
    *_own("empty", ValueType.LIST, "folders to empty", {T.STAGE4, T.LIVECD2, T.LIVECD3, T.DISKIMAGE2, T.EMBEDDED}),
    *_own("gk_mainargs", ValueType.TEXT, "options for genkernel", {T.STAGE4, T.LIVECD2, T.DISKIMAGE2}),
    *_own("linuxrc", ValueType.PATH, "genkernel's linuxrc", {T.STAGE4, T.LIVECD2, T.NETBOOT, T.EMBEDDED}),
    *_own(
        "users", ValueType.LIST, "users, as name=group,group", {T.STAGE4, T.LIVECD2, T.DISKIMAGE2}, effective={T.STAGE4}
    ),
    *_own("groups", ValueType.LIST, "groups to add", {T.STAGE4}),
    *_own("ssh_public_keys", ValueType.LIST, "keys of users, as name=file", {T.STAGE4}),
    *_own("type", ValueType.WORD, "a set of default settings", {T.LIVECD2, T.LIVECD3, T.DISKIMAGE2}),
    *_own(
        "volid",
        ValueType.TEXT,
        "the volume id, at most 32 characters",
        {T.LIVECD2, T.LIVECD3, T.DISKIMAGE2},
        effective={T.LIVECD2, T.LIVECD3},
    ),
    *_own(
        "bootargs",
        ValueType.TEXT,
        "arguments for the kernel",
        {T.LIVECD2, T.LIVECD3, T.DISKIMAGE2},
        effective={T.LIVECD2, T.LIVECD3},
    ),
    *_own("modblacklist", ValueType.LIST, "kernel modules not to load", {T.LIVECD2, T.DISKIMAGE2}),
    *_own("motd", ValueType.PATH, "the message of the day", {T.LIVECD2, T.DISKIMAGE2}, effective={T.LIVECD2}),
    *_own("readme", ValueType.PATH, "README.txt", {T.LIVECD2, T.DISKIMAGE2}, effective={T.LIVECD2}),
    *_own(
        "verify",
        ValueType.WORD,
        "digests of the files on the medium",
        {T.LIVECD2, T.LIVECD3, T.DISKIMAGE2},
        effective={T.LIVECD2, T.LIVECD3},
    ),
    *_own("depclean", ValueType.WORD, "no or keepbdeps: which packages are removed", {T.LIVECD2, T.DISKIMAGE2}),
    *_own(
        "fsops",
        ValueType.TEXT,
        "options for the file system",
        {T.LIVECD2, T.LIVECD3, T.DISKIMAGE2},
        effective={T.LIVECD2, T.LIVECD3},
    ),
    _key("livecd/fstype", ValueType.WORD, "the file system of the root", {T.LIVECD2, T.LIVECD3}),
    _key("livecd/iso", ValueType.OUTPUT, "the ISO", {T.LIVECD2, T.LIVECD3}),
    _key("livecd/cdtar", ValueType.PATH, "an archive for the medium", {T.LIVECD2, T.LIVECD3}, {T.LIVECD3}),
    _key("livecd/overlay", ValueType.PATHS, "folders for the medium", {T.LIVECD2}),
    _key("livecd/iso_extra_partition", ValueType.WORD, "the size of a partition to add", {T.LIVECD2}),
    _key("diskimage/qcow2", ValueType.OUTPUT, "the image", {T.DISKIMAGE2}),
    _key("diskimage/sshkey", ValueType.PATH, "a public SSH key for log-in", {T.DISKIMAGE2}),
    _key("diskimage/qcow2_size", ValueType.WORD, "size of the image", {T.DISKIMAGE2}, effective=frozenset()),
    _key("diskimage/qcow2_efisize", ValueType.WORD, "size of its ESP", {T.DISKIMAGE2}, effective=frozenset()),
    _key("diskimage/qcow2_roottype", ValueType.WORD, "its file system", {T.DISKIMAGE2}, effective=frozenset()),
    _key("embedded/fs-type", ValueType.WORD, "a file system to make", {T.EMBEDDED}, effective=frozenset()),
    _key("embedded/fs-ops", ValueType.TEXT, "its options", {T.EMBEDDED}, effective=frozenset()),
    _key("embedded/fs-prepare", ValueType.PATH, "a script to run before that", {T.EMBEDDED}, effective=frozenset()),
    _key("embedded/fs-finish", ValueType.PATH, "a script to run after that", {T.EMBEDDED}, effective=frozenset()),
    _key("embedded/mergeroot", ValueType.WORD, "the folder to build in", {T.EMBEDDED}, effective=frozenset()),
    _key("embedded/runscript", ValueType.PATH, "a script to run", {T.EMBEDDED}, effective=frozenset()),
    _key("netboot/busybox_config", ValueType.PATH, "busybox's configuration", {T.NETBOOT}),
    _key("netboot/extra_files", ValueType.LIST, "more files for the image", {T.NETBOOT}),
    _key("netboot/overlay", ValueType.PATHS, "folders that are copied over the image", {T.NETBOOT}),
    _key("netboot/packages/<package>/files", ValueType.LIST, "files of a package for the image", {T.NETBOOT}),
    _key("boot/kernel", ValueType.LIST, "names of kernels", _KERNEL, {T.LIVECD2, T.LIVECD3, T.NETBOOT, T.DISKIMAGE2}),
    _key(
        "boot/kernel/<kernel>/sources", ValueType.WORD, "the package of its sources", _KERNEL, effective=_KERNEL_BUILT
    ),
    _key("boot/kernel/<kernel>/config", ValueType.CONFIG, "its configuration", _KERNEL, effective=_KERNEL_BUILT),
    _key("boot/kernel/<kernel>/extraversion", ValueType.WORD, "EXTRAVERSION", _KERNEL, effective=_KERNEL_BUILT),
    _key("boot/kernel/<kernel>/gk_kernargs", ValueType.TEXT, "options for genkernel", _KERNEL, effective=_KERNEL_BUILT),
    _key(
        "boot/kernel/<kernel>/packages", ValueType.LIST, "packages to build after it", _KERNEL, effective=_KERNEL_BUILT
    ),
    _key(
        "boot/kernel/<kernel>/initramfs_overlay",
        ValueType.PATH,
        "a folder for its initramfs",
        _KERNEL,
        effective=_KERNEL_BUILT,
    ),
    _key("boot/kernel/<kernel>/dracut_args", ValueType.TEXT, "options for dracut", _KERNEL, effective=_KERNEL_BUILT),
    _key(
        "boot/kernel/<kernel>/distkernel",
        ValueType.YES,
        "a distribution kernel, with dracut",
        _KERNEL,
        effective={T.LIVECD2, T.DISKIMAGE2},
    ),
    _key(
        "boot/kernel/<kernel>/console",
        ValueType.LIST,
        "consoles in the boot menu",
        _KERNEL,
        effective={T.LIVECD2, T.LIVECD3},
    ),
    _key("boot/kernel/<kernel>/use", ValueType.LIST, "USE for it", _KERNEL, effective=frozenset()),
    _key("boot/kernel/<kernel>/aliases", ValueType.LIST, "other names", _KERNEL, effective=frozenset()),
    _key("boot/kernel/<kernel>/softlevel", ValueType.WORD, "a runlevel", _KERNEL, effective=frozenset()),
    _key("boot/kernel/<kernel>/gk_action", ValueType.WORD, "genkernel's action", _KERNEL, effective=frozenset()),
)
"""All keys of all targets."""

REMOVED_KEYS = {
    "snapshot": "write snapshot_treeish: Catalyst 4 expects a commit",
    "portage_overlay": "write repos",
    "splash_theme": "remove the line: Catalyst 4 has no splash themes",
}
"""Hints for keys of earlier versions of Catalyst."""

PLACEHOLDERS = {"<kernel>": "boot/kernel", "<package>": "netboot/packages"}
"""Keys whose words replace a placeholder in the name of another key."""


@functools.cache
def _pattern(name: str) -> re.Pattern[str]:
    parts = re.split(r"(<\w+>)", name)
    return re.compile("".join("(.+)" if part in PLACEHOLDERS else re.escape(part) for part in parts))


@functools.cache
def _keys_of(target: Target) -> Mapping[str, SpecKey]:
    return {key.name: key for key in KEYS if target in key.targets}
