"""Read ``catalyst.conf``, which is TOML since Catalyst 4. Settings in later files override those in earlier ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from stagewright.catalyst.auto import Notice
from stagewright.errors import Place, Reason, StagewrightError, nearest
from stagewright.project.source import Source, read

_SETTINGS: dict[str, str] = {
    "binhost": "a text",
    "fsscript_network": "true or false",  # of Stagewright; Catalyst rejects it, so it belongs into a second file
    "compression_mode": "a text",
    "digest_format": "a text",
    "distcc_hosts": "a text",
    "distdir": "a text",
    "envscript": "a text",
    "jobserver-fifo": "a text",
    "port_logdir": "a text",
    "repo_basedir": "a text",
    "repo_name": "a text",
    "repo_openpgp_key_path": "a text",
    "repos_storedir": "a text",
    "sharedir": "a text",
    "storedir": "a text",
    "target_distdir": "a text",
    "target_logdir": "a text",
    "target_pkgdir": "a text",
    "digests": "a list of texts",
    "options": "a list of texts",
    "jobs": "a number",
    "load-average": "a number",
    "var_tmpfs_portage": "a number",
}
_OPTIONS = (
    "autoresume",
    "bindist",
    "ccache",
    "distcc",
    "icecream",
    "keepwork",
    "kerncache",
    "pkgcache",
    "seedcache",
    "sticky-config",
    "versioned_cache",
)

_FORMATS = ("linux", "bsd")

UNUSED = {
    "distcc_hosts": "nothing is compiled on other machines",
    "envscript": "builds have no variables from outside; write them into make.conf or env/ of portage_confdir",
    "jobs": "--cores and --jobs of `stagewright catalyst build` share the machine; the drop-in takes all of it",
    "jobserver-fifo": "--cores and --jobs of `stagewright catalyst build` share the machine",
    "load-average": "--cores and --memory of `stagewright catalyst build` limit a build",
    "port_logdir": "logs are in the store; `stagewright catalyst log` prints them",
    "repo_basedir": "results have their repositories in /var/db/repos, Portage's default",
    "target_distdir": "results have Portage's default, /var/cache/distfiles; set DISTDIR by a root_overlay",
    "target_logdir": "results have Portage's default; set PORTAGE_LOGDIR by a root_overlay",
    "target_pkgdir": "results have Portage's default, /var/cache/binpkgs; set PKGDIR by a root_overlay",
    "var_tmpfs_portage": "packages are built on the disk of the store",
}
"""Settings of Catalyst without effect, with the reason or what to do instead."""

_DEFAULTS = {
    "repo_basedir": "/var/db/repos",
    "target_distdir": "/var/cache/distfiles",
    "target_logdir": "/var/log/portage",
    "target_pkgdir": "/var/cache/binpkgs",
}
"""Values of settings without effect that results have anyway."""

UNUSED_OPTIONS = {
    "autoresume": "finished work is found by its key, and unfinished work is never continued",
    "bindist": "write `*/* bindist` into package.use of portage_confdir; Catalyst sets it for the build only",
    "ccache": "set `ccache = true` in the project that `stagewright catalyst convert` writes",
    "distcc": "nothing is compiled on other machines",
    "icecream": "nothing is compiled on other machines",
    "keepwork": "roots of failed builds are kept for `stagewright catalyst shell`, those of others are layers",
    "kerncache": "the store has kernels by their keys, always",
    "seedcache": "the store has unpacked seeds by their content, always",
    "sticky-config": "results keep the files of portage_confdir that portage_prefix does not name",
    "versioned_cache": "the store has packages by everything that went into them",
}
"""Options without effect, with the reason or what to do instead."""

ENDINGS = {
    "tar": "tar",
    "gzip": "tar.gz",
    "pigz": "tar.gz",
    "bzip2": "tar.bz2",
    "lbzip2": "tar.bz2",
    "pbzip2": "tar.bz2",
    "xz": "tar.xz",
    "pixz": "tar.xz",
    "zstd": "tar.zst",
    "pzstd": "tar.zst",
}
"""File name ending by compression_mode."""


@dataclass(frozen=True)
class CatalystConfig:
    """Settings of Catalyst's configuration, with Catalyst's defaults."""

    storedir: str = "/var/tmp/catalyst"
    sharedir: str = "/usr/share/catalyst"
    repo_name: str = "gentoo"
    compression_mode: str = "lbzip2"
    binhost: str = ""
    digests: Sequence[str] = ()
    digest_format: str = "linux"
    options: Sequence[str] = ()
    repos_storedir: str = ""  # default: below storedir
    distdir: str = ""  # a folder of sources to look into
    fsscript_network: bool = False
    repo_openpgp_key_path: str = "/usr/share/openpgp-keys/gentoo-release.asc"  # empty: nothing is verified

    @property
    def builds(self) -> str:
        """Path of the folder for results."""
        return f"{self.storedir.rstrip('/')}/builds"


_USED = {item.name for item in fields(CatalystConfig)}


def read_config(
    files: Iterable[Path], problems: list[StagewrightError], notices: list[Notice] | None = None
) -> CatalystConfig:
    """Return the configuration from these files. Appends errors to ``problems``, unused settings to ``notices``."""
    config = CatalystConfig()
    texts: dict[str, tuple[str, Place]] = {}
    for file in files:
        try:
            source = read(file)
        except StagewrightError as error:
            problems.append(error)
            continue
        good = {name: value for name, value in source.data.items() if _is_valid(name, value, source, problems)}
        config = replace(config, **{name: good[name] for name in _USED & good.keys()})
        texts.update({name: (value, source.place((name,))) for name, value in good.items() if isinstance(value, str)})
        if notices is not None:
            notices += _unused(good, source)
    return _substituted(config, texts, problems)


def _substituted(
    config: CatalystConfig, texts: Mapping[str, tuple[str, Place]], problems: list[StagewrightError]
) -> CatalystConfig:
    """Replace `%(NAME)s` in texts by the setting NAME, as Catalyst does after it has read all files."""
    values = {**asdict(CatalystConfig()), **{name: value for name, (value, _) in texts.items()}}
    for name, (value, place) in texts.items():
        try:
            values[name] = value % values
        except (KeyError, TypeError, ValueError):
            hint = "write %(storedir)s or another setting of texts in this form, and %% for a percent sign"
            message = f"{name}: a % is not the reference to a setting (found {value!r})"
            problems.append(StagewrightError(Reason.INVALID_VALUE, message, place=place, hint=hint))
    return replace(config, **{name: values[name] for name in _USED & texts.keys()})


def _unused(settings: Mapping[str, Any], source: Source) -> Iterator[Notice]:
    """Yield a notice for each setting and option of a file that has no effect."""
    for name, why in UNUSED.items():
        if name in settings and settings[name] != _DEFAULTS.get(name):
            yield Notice(source.place((name,), of_key=True), f"{name} has no effect: {why}")
    for number, option in enumerate(settings.get("options", [])):
        reason = UNUSED_OPTIONS.get(option)
        if reason is None and option not in _OPTIONS:
            reason = f"it is unknown to Catalyst, too; {nearest(option, _OPTIONS)}"
        if reason:
            yield Notice(source.place(("options", number)), f"options: {option} has no effect: {reason}")


def _is_valid(name: str, value: Any, source: Source, problems: list[StagewrightError]) -> bool:
    """Return True if Catalyst accepts a setting and its value. Otherwise append an error to ``problems``."""
    place = source.place((name,))
    if name not in _SETTINGS:
        place = source.place((name,), of_key=True)
        message = f"unknown setting {name!r} for catalyst.conf"
        problem = StagewrightError(Reason.UNKNOWN_KEY, message, place=place, hint=nearest(name, _SETTINGS))
    elif not _is(value, _SETTINGS[name]):
        message = f"{name}: must be {_SETTINGS[name]} (found {value!r})"
        problem = StagewrightError(Reason.INVALID_VALUE, message, place=place, hint=f"write {_SETTINGS[name]}")
    elif name == "compression_mode" and ending(value) is None:
        message = f"compression_mode: unknown mode {value!r}"
        problem = StagewrightError(Reason.INVALID_VALUE, message, place=place, hint=nearest(value, ENDINGS))
    elif name == "digests" and (strange := [one for one in value if one not in hashlib.algorithms_available]):
        message = f"digests: unknown digest {strange[0]!r}"
        place = source.place((name, value.index(strange[0])))
        hint = nearest(strange[0], hashlib.algorithms_guaranteed)
        problem = StagewrightError(Reason.INVALID_VALUE, message, place=place, hint=hint)
    elif name == "digest_format" and value not in _FORMATS:
        message = f"digest_format: unknown format {value!r}"
        problem = StagewrightError(Reason.INVALID_VALUE, message, place=place, hint=nearest(value, _FORMATS))
    else:
        return True
    problems.append(problem)
    return False


def _is(value: Any, what: str) -> bool:
    if what == "true or false":
        return isinstance(value, bool)
    if what == "a number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if what == "a list of texts":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return isinstance(value, str)


def ending(mode: str) -> str | None:
    """Return the file name ending for a compression mode, or None for an unknown mode.

    DeComp has each mode a second time, with `_x` for extended attributes, which are always kept here.
    """
    return "squashfs" if mode.startswith("squashfs") else ENDINGS.get(mode.removesuffix("_x"))
