"""Kernel sources: the programs and headers that building requires, and the finished configuration.

Stagewright checks the configuration before it compiles: for options that a live system requires, and for the programs
and headers that only this configuration makes the build use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.kernel.features import KernelFeatures, LiveRequirements, format_options, parse_options
from stagewright.lazy_dataclass import dataclass
from stagewright.root import files
from stagewright.root.job_tokens import with_tokens
from stagewright.root.local import has_program
from stagewright.root.requirements import MissingRequirement, raise_if_missing
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind

CONFIG_INSIDE = "/tmp/stagewright-kernel.config"
"""Path of the project's configuration inside the root while a kernel is built."""

_PROGRAMS = {
    "make": ("Makefile", "make or dev-build/make"),
    "flex": ("scripts/kconfig/lexer.l", "flex or sys-devel/flex"),
    "bison": ("scripts/kconfig/parser.y", "bison or sys-devel/bison"),
    "bc": ("kernel/time/timeconst.bc", "bc or app-alternatives/bc"),
    "ld": ("scripts/kconfig", "binutils or sys-devel/binutils"),
    "gcc": ("scripts/kconfig", "gcc or sys-devel/gcc"),
    "perl": ("scripts/checkpatch.pl", "perl or dev-lang/perl"),
}
"""Programs that every build uses: the file in the sources that uses it, and the packages that install it.

See Documentation/process/changes.rst of the kernel.
"""


@dataclass(frozen=True)
class BuildDependency:
    """A program or a header that the build uses if any of some options is set, and the packages that install it.

    ``headers`` are paths below /usr/include; one of them is enough.
    """

    options: tuple[str, ...]
    package: str
    program: str = ""
    headers: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.program or f"the header {self.headers[0]}"

    def is_missing(self, root: Root) -> bool:
        """Return True if the root has neither the program nor any of the headers."""
        if self.program:
            return not has_program(root, self.program)
        return not any(files.exists(root.path, f"/usr/include/{name}") for name in self.headers)


_OBJECTS = ("OBJTOOL", "STACK_VALIDATION", "UNWINDER_ORC", "DEBUG_INFO_BTF")
_CERTIFICATES = ("MODULE_SIG", "SYSTEM_TRUSTED_KEYRING", "SYSTEM_REVOCATION_LIST")

_DEPENDENCIES = (
    BuildDependency(("KERNEL_GZIP", "MODULE_COMPRESS_GZIP"), "gzip or app-arch/gzip", "gzip"),
    BuildDependency(("KERNEL_BZIP2",), "bzip2 or app-arch/bzip2", "bzip2"),
    BuildDependency(("KERNEL_LZMA", "KERNEL_XZ", "MODULE_COMPRESS_XZ"), "xz-utils or app-arch/xz-utils", "xz"),
    BuildDependency(("KERNEL_LZO",), "lzop or app-arch/lzop", "lzop"),
    BuildDependency(("KERNEL_LZ4",), "lz4 or app-arch/lz4", "lz4"),
    BuildDependency(("KERNEL_ZSTD", "MODULE_COMPRESS_ZSTD"), "zstd or app-arch/zstd", "zstd"),
    BuildDependency(("IKHEADERS",), "cpio or app-arch/cpio", "cpio"),
    BuildDependency(("MODULE_SIG",), "openssl or dev-libs/openssl", "openssl"),
    BuildDependency(_CERTIFICATES, "libssl-dev or dev-libs/openssl", headers=("openssl/opensslv.h",)),
    BuildDependency(("DEBUG_INFO_BTF",), "dwarves or dev-util/pahole", "pahole"),
    BuildDependency(_OBJECTS, "libelf-dev or virtual/libelf", headers=("gelf.h", "libelf/gelf.h")),
    BuildDependency(("DEBUG_INFO_BTF",), "zlib1g-dev or sys-libs/zlib", headers=("zlib.h",)),
)
"""Dependencies of some configurations only: Makefile, scripts/Makefile.lib, certs/ and tools/ of the kernel.

Distributions set the options for signing, BTF and objtool. Small configurations do not.
"""


@dataclass(frozen=True)
class KernelSources:
    """Kernel sources in a root, and how to build them.

    ``tree`` is the path of the sources in the root, ``config`` a configuration of the project, ``extraversion`` the
    suffix of the version, ``epoch`` the time stamp in seconds since 1970. ``ccache`` is the environment of ccache(1)
    for make, empty if ccache is not used. ``tokens`` is True if jobs take tokens (root/job_tokens.py).
    """

    tree: str
    config: Path | None
    extraversion: str
    jobs: int
    epoch: int
    ccache: Mapping[str, str] = field(default_factory=dict)
    tokens: bool = False

    @property
    def env(self) -> dict[str, str]:
        """Environment that keeps time, user and host out of the kernel.

        See Documentation/kbuild/reproducible-builds.rst of the kernel.
        """
        return {
            "KBUILD_BUILD_TIMESTAMP": f"@{self.epoch}",
            "KBUILD_BUILD_USER": "stagewright",
            "KBUILD_BUILD_HOST": "stagewright",
            "SOURCE_DATE_EPOCH": str(self.epoch),
            **self.ccache,
        }

    @property
    def binds(self) -> list[Bind]:
        """Bind mount of the project's configuration, if there is one."""
        return [Bind(self.config, CONFIG_INSIDE)] if self.config else []

    @property
    def make(self) -> list[str]:
        """Command line of make(1) without a target."""
        return [*self._make, f"-j{self.jobs}"]

    @property
    def compile(self) -> list[str]:
        """Command line of make(1) that compiles everything."""
        return with_tokens(self._make, self.jobs) if self.tokens else self.make

    @property
    def _make(self) -> list[str]:
        suffix = [f"LOCALVERSION=-{self.extraversion}"] if self.extraversion else []
        compiler = ["CC=ccache gcc", "HOSTCC=ccache gcc"] if self.ccache else []
        return ["make", "-C", self.tree, *suffix, *compiler]


@dataclass(frozen=True)
class Configuration:
    """A finished kernel configuration.

    ``dropped`` are options that the project's configuration sets and Kconfig removed, because of other options.
    """

    options: Mapping[str, str]
    dropped: tuple[str, ...]


def configure(root: Root, sources: KernelSources) -> Configuration:
    """Complete the configuration of the sources with `make olddefconfig`, and return it.

    The start is the project's configuration, else the .config in the sources, else `make defconfig`.
    """
    target = f"{sources.tree}/.config"
    if sources.config:
        root.run("cp", CONFIG_INSIDE, target, binds=sources.binds)
    elif not files.exists(root.path, target):
        root.run(*sources.make, "defconfig", env=sources.env)
    asked = parse_options(files.read_file(root.path, target) or "")
    root.run(*sources.make, "olddefconfig", env=sources.env)
    done = parse_options(files.read_file(root.path, target) or "")
    dropped = [option for option, value in asked.items() if value in ("y", "m") and option not in done]
    return Configuration(done, tuple(dropped))


def check_build_tools(root: Root, tree: str, where: str) -> None:
    """Check that the root has all programs that the sources at ``tree`` use in every configuration.

    ``where`` names the root in messages. Raises ``ENVIRONMENT_LACKS`` with everything that is missing.
    """
    if not files.exists(root.path, f"{tree}/Makefile"):
        message = f"{where} has no kernel sources at {tree}"
        hint = "install them with `kernel.sources`, or correct `kernel.tree`"
        raise StagewrightError(Reason.ENVIRONMENT_LACKS, message, hint=hint)
    raise_if_missing(
        MissingRequirement(f"{where} lacks {program}, which the kernel build requires", f"install {package}")
        for program, (file, package) in _PROGRAMS.items()
        if files.exists(root.path, f"{tree}/{file}") and not has_program(root, program)
    )


def check_configuration(
    root: Root, tree: str, configuration: Configuration, requirements: LiveRequirements | None, where: str
) -> None:
    """Check, before compilation, that the kernel can start a live system and that this root can compile it.

    ``requirements`` is None if the kernel is not for a live system. Raises ``ENVIRONMENT_LACKS`` with everything that
    is missing.
    """
    missing = list(_missing_options(tree, configuration, requirements)) if requirements else []
    raise_if_missing([*missing, *_missing_dependencies(root, configuration, where)])


def _missing_options(
    tree: str, configuration: Configuration, requirements: LiveRequirements
) -> Iterator[MissingRequirement]:
    missing = list(KernelFeatures(configuration.options, frozenset(), frozenset()).missing(requirements))
    if missing:
        dropped = [f"CONFIG_{option}" for option, _ in missing if option in configuration.dropped]
        hint = "set these options in the kernel's configuration (`kernel.config`)"
        if dropped:
            hint += f"; {', '.join(dropped)} is set there, but Kconfig removed it: also set the options it depends on"
        message = f"the kernel at {tree} cannot start a live system: missing {format_options(missing)}"
        yield MissingRequirement(message, hint)


def _missing_dependencies(root: Root, configuration: Configuration, where: str) -> Iterator[MissingRequirement]:
    for dependency in _DEPENDENCIES:
        causes = [f"CONFIG_{option}" for option in dependency.options if option in configuration.options]
        if causes and dependency.is_missing(root):
            message = f"{where} lacks {dependency}, which the kernel build requires for {', '.join(causes)}"
            yield MissingRequirement(message, f"install {dependency.package}")
