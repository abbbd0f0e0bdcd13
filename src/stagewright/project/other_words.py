"""Hints for unknown keys: words of Catalyst, make.conf(5) and similar programs, and keys of other kinds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from stagewright.errors import misspelt, nearest
from stagewright.lazy_dataclass import dataclass
from stagewright.project.fields import Section

_SETTINGS = {
    "target": "kind",
    "source_subpath": "root",
    "source": "root",
    "from": "root",
    "base": "root",
    "parent": "root",
    "portage_confdir": "confdir",
    "portage_prefix": "confdir_prefix",
    "portage_overlay": "repos",
    "overlays": "repos",
    "vars": "variables",
    "var": "variables",
    "repository": "repos",
    "repositories": "repos",
    "binrepo_path": "binrepo",
    "compression_mode": "compression",
    "fstype": "compression",
    "fsscript": "script",
    "fsops": "compression",
    "tz": "timezone",
    "time_zone": "timezone",
    "lang": "locale",
    "language": "locale",
    "keyboard": "keymap",
    "pkgs": "packages",
    "package": "packages",
    "install": "packages",
    "remove": "rm",
    "delete": "rm",
    "clean": "empty",
    "overlay": "root_overlay",
    "copy": "root_overlay",
    "passwd": "password",
    "rootpw": "root_password",
    "root_pw": "root_password",
    "root_passwd": "root_password",
    "rootpassword": "root_password",
    "secureboot": "secure_boot",
    "secure-boot": "secure_boot",
    "url": "base_url",
    "filesystem": "layout",
    "fs": "layout",
    "partitions": "layout",
    "passphrase": "key_file",
    "luks_key": "key_file",
    "ssh_public_keys": "authorized_keys",
    "ssh_keys": "authorized_keys",
    "sshkey": "ssh_key",
    "volid": "volume_id",
    "label": "volume_id",
    "bootloader": "loader",
    "boot_loader": "loader",
    "cdtar": "loader",
    "gk_kernargs": "genkernel_arguments",
    "dracut_args": "dracut_arguments",
    "initramfs_overlay": "overlay",
    "ram": "memory",
    "mem": "memory",
    "cores": "cpus",
    "smp": "cpus",
    "architecture": "arch",
    "subarch": "arch",
    "branch": "ref",
    "sync-uri": "git",
    "location": "path",
    "USE": "use",
    "CHOST": "chost",
    "COMMON_FLAGS": "common_flags",
    "cflags": "common_flags",
    "cxxflags": "common_flags",
    "CFLAGS": "common_flags",
    "CXXFLAGS": "common_flags",
    "ACCEPT_KEYWORDS": "accept_keywords",
    "ACCEPT_LICENSE": "accept_license",
    "accept_licence": "accept_license",
    "keywords": "accept_keywords",
    "license": "accept_license",
    "INSTALL_MASK": "install_mask",
    "start": "enable",
    "stop": "disable",
    "enabled": "enable",
    "disabled": "disable",
}
"""The setting that means the same as a word of another program."""

_EDITS = {
    "rcadd": 'write services = { enable = ["NAME"] }',
    "rcdel": 'write services = { disable = ["NAME"] }',
    **dict.fromkeys(
        ("bootargs", "cmdline", "append", "kernel_cmdline", "kernel_params", "kernel_parameters", "kernel_options"),
        'write kernel_arguments = { extra = ["WORD"] }',
    ),
    **dict.fromkeys(
        ("luks", "encrypt", "encryption", "encrypted"),
        'write Encrypt=key-file for a partition in a folder of your own, and layout = "./FOLDER" (docs/disks.md)',
    ),
    "modblacklist": 'write kernel_arguments = { extra = ["modprobe.blacklist=NAME"] }',
    "version_stamp": 'write version = "..." in [project]',
    "rel_type": "remove it: names of files consist of the project, the stage and the version",
    "snapshot_treeish": 'write commit = "..." or date = "..." in the table of the repository',
    "pkgcache_path": "remove it: all stages share one cache of binary packages",
    "kerncache_path": "remove it: unchanged kernels are not built again",
    "interpreter": "remove it: Stagewright finds the emulator for another architecture",
    "features": 'write make_conf = { FEATURES = "..." }',
    "hostuse": "remove it: the host's USE flags do not count",
    "iso": "remove it: `stagewright build` writes the image to the folder out",
    "qcow2": "remove it: `stagewright build` writes the image to the folder out",
    "readme": "put the file into a folder of `root_overlay`",
    "boot/kernel": "add a stage of kind livecd-stage2, which makes a kernel",
    "container": "add a stage of kind tarball, and import its file",
    **dict.fromkeys(
        ("package_use", "package.use", "package_keywords", "package.accept_keywords", "package_accept_keywords"),
        'write it into a file such as portage/package.use of the project, with confdir = ["portage"]',
    ),
    **dict.fromkeys(
        ("package_mask", "package.mask", "package_unmask", "package.unmask", "package_license", "package_env"),
        'write it into a file such as portage/package.mask of the project, with confdir = ["portage"]',
    ),
    "hooks": 'write script = "FILE"',
}
"""Hints for keys that have no setting of the same meaning."""

_OF_USERS = dict.fromkeys(
    ("sudo", "admin", "wheel"), 'write groups = ["wheel"], the group of users who may become root'
)
"""Hints for keys of a user."""

_MAKE_CONF = frozenset(
    {
        *("FEATURES", "MAKEOPTS", "LDFLAGS", "FFLAGS", "FCFLAGS", "RUSTFLAGS", "VIDEO_CARDS", "INPUT_DEVICES", "L10N"),
        *("LINGUAS", "CPU_FLAGS_X86", "PYTHON_TARGETS", "PYTHON_SINGLE_TARGET", "RUBY_TARGETS", "GRUB_PLATFORMS"),
        *("QEMU_SOFTMMU_TARGETS", "LLVM_SLOT", "EMERGE_DEFAULT_OPTS"),
        *("ldflags", "fcflags", "fflags", "asflags", "makeopts", "video_cards"),
    }
)
"""Variables of make.conf(5) that have no setting."""

_AT_THE_TOP = ("format", "include")
"""Keys of the project file that belong to no table: below one, they become part of it."""

_MOST_KINDS = 4
"""Most kinds that a hint names."""


_MOST_KEYS = 16
"""Most keys that a hint lists."""


@dataclass(frozen=True)
class OfKind:
    """The kind of an entry, and the models of all kinds of its table, for keys that only others have."""

    name: str
    models: Mapping[str, type[Section]]


def hint_for_key(key: str, known: Sequence[str], of_kind: OfKind | None) -> str:
    """Return the hint for an unknown key of a table that has the keys ``known``.

    ``of_kind`` is the kind of the entry if the key is in its table, and None for tables inside of it.
    """
    kinds = _kinds_with(key, of_kind) if of_kind else ""
    if key in _AT_THE_TOP and key not in known:
        top = "move it to the top of the file, above the first table"
        return f"{kinds}; the one of the project file is above its first table" if kinds else top
    if hint := _of_words(key, known, of_kind, kinds):
        return hint
    if slip := misspelt(key, known):
        return f"did you mean {slip!r}?"
    near = nearest(key, known)
    if of_kind is None:
        return near
    if kinds:
        return kinds
    many = not near.startswith("did") and len(known) > _MOST_KEYS
    return f"`stagewright kinds {of_kind.name}` lists all settings" if many else near


def _of_words(key: str, known: Sequence[str], of_kind: OfKind | None, kinds: str) -> str:
    """Return the hint for a word of another program; "" for other words. ``kinds`` names other kinds with the key."""
    word = key.rpartition("/")[2]
    for name in (key, word, word.lower()):
        if "/" in key and name in known:
            return f"write {name}, without {key.removesuffix(word)}"
        if _SETTINGS.get(name) in known:
            return f"the setting is called {_SETTINGS[name]!r}"
        if name in _MAKE_CONF and "make_conf" in known:
            return f'write make_conf = {{ {name.upper()} = "..." }}'
        if name in _EDITS and of_kind and not kinds:
            return _EDITS[name]
        if name in _OF_USERS and {"groups", "shell"} <= set(known):
            return _OF_USERS[name]
        if of_kind and name in _SETTINGS and (others := _kinds_with(_SETTINGS[name], of_kind)):
            return f"the setting is called {_SETTINGS[name]!r}; {others}"
    return ""


def _kinds_with(key: str, of_kind: OfKind) -> str:
    """Return the words about other kinds that have a key; "" if none has it."""
    kinds = sorted(kind for kind, model in of_kind.models.items() if kind != of_kind.name and _has(model, key))
    more = " and others" if len(kinds) > _MOST_KINDS else ""
    return f"only stages of other kinds have it: {', '.join(kinds[:_MOST_KINDS])}{more}" if kinds else ""


def _has(model: type[Section], key: str) -> bool:
    return any(key == (info.alias or name) for name, info in model.model_fields.items())


def meant_key(hint: str) -> str:
    """Return the key that a hint of :func:`hint_for_key` suggests, or "" if it suggests none."""
    found = re.search(r"^(?:did you mean|the setting is called) '([^']+)'|^write ([^ ]+), without ", hint)
    return (found[1] or found[2]) if found else ""
