"""Kernels from sources, by make or genkernel: configured, looked at, and only then compiled.

A compile takes minutes or hours, a configuration seconds. So what the finished configuration lacks for a live system,
and the programs and headers that it makes the build use, are told between the two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.kernel.find import Capabilities, Demand, listed, options_of
from stagewright.root import files
from stagewright.root.local import has_program
from stagewright.root.requirements import MissingRequirement, raise_missing
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind
from stagewright.run import inside

_CONFIG = "/tmp/stagewright-kernel.config"
_OVERLAY = "/tmp/stagewright-initramfs"

_NEEDS = {
    "make": ("Makefile", "make or dev-build/make"),
    "flex": ("scripts/kconfig/lexer.l", "flex or sys-devel/flex"),
    "bison": ("scripts/kconfig/parser.y", "bison or sys-devel/bison"),
    "bc": ("kernel/time/timeconst.bc", "bc or app-alternatives/bc"),
    "ld": ("scripts/kconfig", "binutils or sys-devel/binutils"),
    "gcc": ("scripts/kconfig", "gcc or sys-devel/gcc"),
    "perl": ("scripts/checkpatch.pl", "perl or dev-lang/perl"),
}
"""Programs that all kernel sources use, by the file of theirs that does (Documentation/process/changes.rst)."""


@dataclass(frozen=True)
class Use:
    """What the build uses where the configuration sets one of some options: a program, or a header, from a package."""

    options: tuple[str, ...]
    package: str
    program: str = ""
    headers: tuple[str, ...] = ()  # below /usr/include, any of which will do

    @property
    def what(self) -> str:
        """What is used, for people."""
        return self.program or f"the header {self.headers[0]}"

    def missing(self, root: Root) -> bool:
        """Whether the root has it not."""
        if self.program:
            return not has_program(root, self.program)
        return not any(files.exists(root.path, f"/usr/include/{name}") for name in self.headers)


_OBJECTS = ("OBJTOOL", "STACK_VALIDATION", "UNWINDER_ORC", "DEBUG_INFO_BTF")
_CERTIFICATES = ("MODULE_SIG", "SYSTEM_TRUSTED_KEYRING", "SYSTEM_REVOCATION_LIST")

_USES = (
    Use(("KERNEL_GZIP", "MODULE_COMPRESS_GZIP"), "gzip or app-arch/gzip", "gzip"),
    Use(("KERNEL_BZIP2",), "bzip2 or app-arch/bzip2", "bzip2"),
    Use(("KERNEL_LZMA", "KERNEL_XZ", "MODULE_COMPRESS_XZ"), "xz-utils or app-arch/xz-utils", "xz"),
    Use(("KERNEL_LZO",), "lzop or app-arch/lzop", "lzop"),
    Use(("KERNEL_LZ4",), "lz4 or app-arch/lz4", "lz4"),
    Use(("KERNEL_ZSTD", "MODULE_COMPRESS_ZSTD"), "zstd or app-arch/zstd", "zstd"),
    Use(("IKHEADERS",), "cpio or app-arch/cpio", "cpio"),
    Use(("MODULE_SIG",), "openssl or dev-libs/openssl", "openssl"),
    Use(_CERTIFICATES, "libssl-dev or dev-libs/openssl", headers=("openssl/opensslv.h",)),
    Use(("DEBUG_INFO_BTF",), "dwarves or dev-util/pahole", "pahole"),
    Use(_OBJECTS, "libelf-dev or virtual/libelf", headers=("gelf.h", "libelf/gelf.h")),
    Use(("DEBUG_INFO_BTF",), "zlib1g-dev or sys-libs/zlib", headers=("zlib.h",)),
)
"""What only some configurations make the build use: Makefile, scripts/Makefile.lib, certs/ and tools/ of the sources.
Signing, BTF and libelf's objtool are what distributions set and small configurations do not."""


def check_tools(root: Root, tree: str, where: str) -> None:
    """Name all programs that the sources at ``tree`` always use and the root lacks. Raises ``ENVIRONMENT_LACKS``."""
    if not files.exists(root.path, f"{tree}/Makefile"):
        what = f"{where} has no kernel sources at {tree}"
        raise StagewrightError(Reason.ENVIRONMENT_LACKS, what, hint="install them by `kernel.sources`, or see the path")
    raise_missing(
        MissingRequirement(f"{where} lacks {program}, which building the kernel takes", f"install {package}")
        for program, (file, package) in _NEEDS.items()
        if files.exists(root.path, f"{tree}/{file}") and not has_program(root, program)
    )


@dataclass(frozen=True)
class Configured:
    """A finished configuration: its options, and those that were asked for in vain, since others rule them out."""

    options: Mapping[str, str]
    dropped: tuple[str, ...]


def check_configured(root: Root, tree: str, done: Configured, demand: Demand | None, where: str) -> None:
    """Refuse, before it is compiled, what would start no live system, and what cannot be compiled in this root.

    All of it is told at once. ``demand`` is None where no live system is to be started. Raises ``ENVIRONMENT_LACKS``.
    """
    able = Capabilities(done.options, frozenset(), frozenset())
    missing = list(able.missing(demand)) if demand else []
    lacks = []
    if missing:
        dropped = [f"CONFIG_{option}" for option, _ in missing if option in done.dropped]
        hint = "set these in the kernel's configuration (`kernel.config`)"
        if dropped:
            hint += f"; it has {', '.join(dropped)} already, so look at what that depends on"
        lacks.append(
            MissingRequirement(f"the kernel at {tree} could not start a live system: it lacks {listed(missing)}", hint)
        )
    for use in _USES:
        causes = [f"CONFIG_{option}" for option in use.options if option in done.options]
        if causes and use.missing(root):
            what = f"{where} lacks {use.what}, which building the kernel takes because of {', '.join(causes)}"
            lacks.append(MissingRequirement(what, f"install {use.package}"))
    raise_missing(lacks)


@dataclass(frozen=True)
class Sources:
    """How to build a kernel: the sources' path in the root, a configuration of the project, a suffix of the version.

    ``ccache`` is the environment of ccache(1), which make is to compile through; empty without one.
    """

    tree: str
    config: Path | None
    extraversion: str
    jobs: int
    epoch: int
    ccache: Mapping[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """What keeps time, user and host out of the kernel (Documentation/kbuild/reproducible-builds.rst)."""
        return {
            "KBUILD_BUILD_TIMESTAMP": f"@{self.epoch}",
            "KBUILD_BUILD_USER": "stagewright",
            "KBUILD_BUILD_HOST": "stagewright",
            "SOURCE_DATE_EPOCH": str(self.epoch),
            **self.ccache,
        }

    @property
    def binds(self) -> list[Bind]:
        """The configuration, inside."""
        return [Bind(self.config, _CONFIG)] if self.config else []

    @property
    def make(self) -> list[str]:
        """The command that all targets of the sources' Makefile are asked by."""
        suffix = [f"LOCALVERSION=-{self.extraversion}"] if self.extraversion else []
        compiler = ["CC=ccache gcc", "HOSTCC=ccache gcc"] if self.ccache else []
        return ["make", "-C", self.tree, f"-j{self.jobs}", *suffix, *compiler]


def configure(root: Root, sources: Sources) -> Configured:
    """Make a configuration complete: the project's, else the one in the sources, else the architecture's default."""
    target = f"{sources.tree}/.config"
    if sources.config:
        root.run("cp", _CONFIG, target, binds=sources.binds)
    elif not files.exists(root.path, target):
        root.run(*sources.make, "defconfig", env=sources.env)
    asked = options_of(files.read_file(root.path, target) or "")
    root.run(*sources.make, "olddefconfig", env=sources.env)
    done = options_of(files.read_file(root.path, target) or "")
    dropped = [option for option, value in asked.items() if value in ("y", "m") and option not in done]
    return Configured(done, tuple(dropped))


def build_by_make(root: Root, sources: Sources, done: Configured) -> str:
    """Compile and install a kernel that is configured, with its modules, inside the root. Returns its version."""
    tree, make = sources.tree, sources.make
    root.run(*make, env=sources.env)
    version = root.ask(*make, "--silent", "--no-print-directory", "kernelrelease").split()[-1]
    image = root.ask(*make, "--silent", "--no-print-directory", "image_name").split()[-1]
    if "MODULES" in done.options:
        root.run(*make, "INSTALL_MOD_STRIP=1", "modules_install", env=sources.env)
    root.run("mkdir", "-p", f"/lib/modules/{version}", "/boot")
    root.run("cp", f"{tree}/{image}", f"/boot/vmlinuz-{version}")
    root.run("cp", f"{tree}/.config", f"/boot/config-{version}")
    for name in ("modules.builtin", "modules.order"):  # what depmod reads; a kernel without modules installs none
        if not files.exists(root.path, f"/lib/modules/{version}/{name}"):
            files.write_file(root.path, f"/lib/modules/{version}/{name}", "", epoch=sources.epoch)
    return version


def build_by_genkernel(root: Root, sources: Sources, arguments: Sequence[str], overlay: Path | None) -> str:
    """Have genkernel(8) build a kernel, its modules and its initramfs inside the root. Returns the kernel's version.

    Packages with modules are built again afterwards, with their sources fetched, so genkernel leaves them alone.
    """
    words = ["genkernel", "--no-color", "--no-mountboot", "--no-menuconfig", "--no-module-rebuild"]
    words += [f"--kerneldir={sources.tree}"]
    words += [f"--makeopts=-j{sources.jobs}", "--kernel-filename=vmlinuz-%%KV%%"]
    words += ["--initramfs-filename=initramfs-%%KV%%.img", "--systemmap-filename=System.map-%%KV%%"]
    # Without mrproper genkernel prefers the .config that it finds in the sources to the one it is told.
    words += ["--mrproper", f"--kernel-config={_CONFIG}"] if sources.config else []
    words += [f"--kernel-append-localversion=-{sources.extraversion}"] if sources.extraversion else []
    words += [f"--initramfs-overlay={_OVERLAY}"] if overlay else []
    before = set(inside(root.path, _versions))
    binds = [*sources.binds, *([Bind(overlay, _OVERLAY)] if overlay else [])]
    root.run(*words, *arguments, "all", binds=binds, env=sources.env)
    new = sorted(set(inside(root.path, _versions)) - before)
    if len(new) != 1:
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"genkernel left {len(new) or 'no'} kernels with an initramfs in /boot: {', '.join(new)}",
            hint="see what genkernel said in the log; a kernel that was there before is not taken",
        )
    return new[0]


def _versions() -> list[str]:
    """Versions for which /boot has an initramfs of genkernel's."""
    found = (re.fullmatch(r"initramfs-(.+)\.img", name) for name in files.names_in("/boot"))
    return [match[1] for match in found if match]
