"""A Debian root as stage 0: bootstrapped by mmdebstrap from this machine's package sources, with Portage from PyPI.

Each step removes one obstacle that Portage meets on Debian. The root contains no address of a package source. The same
packages give the same bytes.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import IO, Any

from stagewright.arch import Port
from stagewright.chroot import inside
from stagewright.confined import Tree
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import file_digest
from stagewright.lazy_dataclass import dataclass
from stagewright.root.download_sandbox import PLACE
from stagewright.root.files import clamp_times
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind
from stagewright.seeds import debian_areas, pypi
from stagewright.seeds.apt_cache import Waiting, no_report
from stagewright.seeds.mmdebstrap import ASK_VERSIONS, Bootstrap, DebianRequest
from stagewright.trees import remove_tree

UNUSED = ("man", "doc", "info", "locale", "i18n", "bash-completion", "lintian", "bug")
"""Folders below /usr/share that builds do not need."""

_INST = re.compile(r"^Inst (?P<name>\S+) (?:\[\S+\] )?\((?P<version>\S+) ", re.MULTILINE)

_NO_PORT = "did not find any indices for architecture"
"""Error message of mmdebstrap if a release does not have an architecture."""

_MESON = (
    "setup --backend=none --prefix=/usr -Deprefix= -Dsystem-wide=true -Dnative-extensions=false -Dxattr=true "
    "-Dpython.bytecompile=-1 /tmp/build /tmp/portage",
    "install --no-rebuild -C /tmp/build",
)
"""Commands of meson. The script ``_ADAPT`` compiles the modules, in the way that reproducible images need."""

_RUN_MESON = """
import sys
from mesonbuild.mesonmain import run
sys.exit(any(run(words.split(), "meson") for words in sys.argv[1:]))
"""
"""One process for all commands: importing meson takes a second, and ten seconds with an emulator."""

_NO_KERNEL_HOOKS = (  # livecd-stage2 makes the initramfs, but dracut's trigger needs this file
    'hooks="$1/etc/kernel/postinst.d"; mkdir -p "$hooks"; '
    'printf "#!/bin/sh\\nexit 0\\n" > "$hooks/dracut"; chmod 755 "$hooks/dracut"'
)

_USE_PROC = 'rmdir "$1/proc" && ln -s dev/.proc "$1/proc"'  # the sandbox has mounted it there
_NO_PROC = 'rm "$1/proc" && mkdir -m 755 "$1/proc"'

_ADAPT = r"""
set -e
ln -sf python3 /usr/bin/python          # '#!/usr/bin/env python' of Portage's helpers
ln -sf tar /usr/bin/gtar                # Portage unpacks with it
groupadd -r -g 250 portage
useradd -r -u 250 -g portage -d /var/lib/portage/home -s /bin/false -M portage
for tool in gcc g++ cpp c++ ar as ld ld.bfd nm objcopy objdump ranlib readelf strip strings addr2line pkg-config \
            gcc-ar gcc-nm gcc-ranlib; do
    for name in $TRIPLET-$tool $tool; do
        if [ -e /usr/bin/$name ]; then ln -sf $name /usr/bin/$CHOST-$tool; break; fi
    done
done
if [ ! -e /usr/bin/eltpatch ]; then     # elibtoolize of libtool.eclass; Debian's libtool has its own patches
    printf '#!/bin/sh\nexit 0\n' > /usr/bin/eltpatch
    chmod 755 /usr/bin/eltpatch
fi
: > /usr/share/portage/config/repos.conf # remove its [gentoo] entry
cat >> /usr/share/portage/config/make.globals <<'END'
FETCHCOMMAND_DEBSRC="/usr/libexec/stagewright/fetch-debsrc \"\${URI}\" \"\${DISTDIR}/\${FILE}\""
RESUMECOMMAND_DEBSRC="/usr/libexec/stagewright/fetch-debsrc \"\${URI}\" \"\${DISTDIR}/\${FILE}\""
END
mkdir -p /etc/portage /var/db/pkg /var/db/repos /var/cache/distfiles /var/cache/binpkgs /var/log/portage
install -d -o portage -g portage -m 775 /var/tmp/portage /var/lib/portage /var/lib/portage/home
rm -r /usr/lib/python3/dist-packages/portage/tests
python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3/dist-packages
"""

_USED = ("passwd",)
"""Packages with programs of ``_ADAPT`` that not every release installs: groupadd, useradd."""

_LEFTOVERS = (
    *("etc/hostname", "etc/resolv.conf", "etc/machine-id", "var/lib/dbus/machine-id"),
    *("etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-", "etc/.pwd.lock"),
    *("etc/apt/apt.conf.d/*", "etc/apt/sources.list.d/*", "etc/apt/sources.list"),
    *("var/lib/dpkg/*-old", "var/lib/apt/lists/*", "var/cache/apt/*.bin", "var/cache/debconf/*-old"),
    *("var/log/*.log", "var/log/apt", "var/cache/ldconfig/aux-cache", "vmlinuz*", "initrd.img*"),
)
"""Files that contain names of this machine, of its package sources, or times."""


@dataclass(frozen=True)
class Caches:
    """Folders of the store: files of the Python package index, and indexes and packages of Debian.

    ``waiting`` is called with True when another seed must end its download first, and with False when it has.
    """

    pypi: Path
    debian: Path
    waiting: Waiting = no_report


def resolve_packages(request: DebianRequest, folder: Path, caches: Caches, log: IO[str]) -> dict[str, Any]:
    """Return the pin of the request: all packages with versions, and the digests of Portage's files.

    Raises ``INVALID_VALUE`` if the release does not have the architecture.
    """
    try:
        output = Bootstrap.of(request, folder, caches.debian, caches.waiting).simulated(_arguments(request))
    except StagewrightError as error:
        if _NO_PORT not in error.detail:
            raise
        raise StagewrightError(
            Reason.INVALID_VALUE,
            f"Debian {request.suite}: no packages for {request.arch} ({request.arch.port.name})",
            hint="set a newer `suite`, or use a seed from a file",
        ) from error
    log.write(output)
    found = _INST.finditer(output)  # has some packages twice
    packages = sorted({f"{match['name']}={match['version']}" for match in found})
    if not packages:
        raise StagewrightError(Reason.BUILD_FAILED, "mmdebstrap: no packages in its output", detail=output[-2000:])
    pin: dict[str, Any] = {"suite": request.suite, "arch": request.arch.value}
    if request.portage:
        fetch = partial(pypi.fetch_package, cache=caches.pypi, services=request.services)
        pin["portage"] = file_digest(fetch(f"portage=={request.portage}", source=True))
        pin["meson"] = file_digest(fetch("meson", source=False))
    return {**pin, "packages": packages}


def bootstrap(
    request: DebianRequest, pin: Mapping[str, Any], folder: Path, caches: Caches, epoch: int, log: IO[str]
) -> tuple[Path, dict[str, str]]:
    """Bootstrap the root of a pin. Return it, and the part of Debian's archive of each package.

    Raises ``LOCK_STALE`` if the sources do not have its versions any more.
    """
    runs = Bootstrap.of(request, folder, caches.debian, caches.waiting)
    try:
        indexes = runs.fetch(pin["packages"], log)
        hooks = f"--extract-hook={ASK_VERSIONS}", f"--customize-hook={debian_areas.hook(Path(PLACE))}"
        own = runs.make([hooks[0], *_arguments(request), hooks[1]], pin["packages"], indexes, epoch, log)
    except StagewrightError:
        if (candidates := runs.candidates()) is not None:
            found = _versions(candidates)
            _require_pinned(pin, {name: found.get(name, "no version") for name in _versions(pin["packages"])})
        raise
    areas = debian_areas.areas_of(Tree(own).text(debian_areas.FILE, errors="replace").splitlines(), pin["packages"])
    tree = (own / "tree").rename(folder / "tree")
    root = Root(tree, tree, log=log)
    _check_versions(root, pin)
    if request.portage:
        _install_portage(root, pin, request, folder, caches.pypi)
        _adapt(root, request.arch.port, epoch)
    _clean(tree)
    clamp_times(tree, epoch)
    return tree, areas


def _arguments(request: DebianRequest) -> list[str]:
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in UNUSED]
    return [
        "--variant=apt",
        f"--extract-hook={_USE_PROC}",
        f"--customize-hook={_NO_PROC}",
        f"--include={','.join(['usr-is-merged', *(_USED if request.portage else ()), *request.packages])}",
        '--aptopt=APT::Install-Recommends "false"',
        *excluded,
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",  # releases need the terms of licences
        "--dpkgopt=path-exclude=/usr/lib/*/gconv/*",
        "--dpkgopt=path-exclude=/etc/kernel/*",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in request.exclude),
        f"--setup-hook={_NO_KERNEL_HOOKS}",
        "--dpkgopt=force-unsafe-io",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
    ]


def _check_versions(root: Root, pin: Mapping[str, Any]) -> None:
    """Compare the installed packages with the pin. It may list more: a simulation runs no hooks."""
    _require_pinned(
        pin, _versions(root.ask("dpkg-query", "--show", "--showformat", "${Package}=${Version}\\n").split())
    )


def _versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of packages that are given as NAME=VERSION."""
    return dict(name.split("=", 1) for name in names)


def _require_pinned(pin: Mapping[str, Any], found: Mapping[str, str]) -> None:
    """Raise ``LOCK_STALE`` if a package has another version than the pinned one."""
    pinned = _versions(pin["packages"])
    changes = [
        f"  {name}: pinned {pinned.get(name, 'no version')}, found {version}"
        for name, version in sorted(found.items())
        if pinned.get(name) != version
    ]
    if changes:
        raise StagewrightError(
            Reason.LOCK_STALE,
            "stagewright.lock: the package sources do not have the pinned versions",
            detail="\n".join(changes[:20]),
            hint="run: stagewright update",
        )


def _install_portage(root: Root, pin: Mapping[str, Any], request: DebianRequest, folder: Path, cache: Path) -> None:
    """Install Portage from its source distribution by meson. The wheel installs files into wrong folders."""
    fetch = partial(pypi.fetch_package, cache=cache, services=request.services)
    sdist = fetch(f"portage=={request.portage}", source=True, digest=pin["portage"])
    meson = fetch("meson", source=False, digest=pin["meson"])
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "portage", filter="data")
    (source,) = (folder / "portage").iterdir()
    build = folder / "meson"
    build.mkdir()
    binds = [Bind(source, "/tmp/portage"), Bind(meson, "/tmp/meson.whl"), Bind(build, "/tmp/build", writable=True)]
    env = {"PYTHONPATH": "/tmp/meson.whl", "PYTHONDONTWRITEBYTECODE": "1"}
    root.run("python3", "-c", _RUN_MESON, *_MESON, binds=binds, env=env)


def _adapt(root: Root, port: Port, epoch: int) -> None:
    helper = resources.files("stagewright.seeds") / "data" / "fetch-debsrc"
    with resources.as_file(helper) as path:
        install = "install -D -m 755 /tmp/fetch-debsrc /usr/libexec/stagewright/fetch-debsrc"
        env = {"TRIPLET": port.triplet, "CHOST": port.chost}
        env["SOURCE_DATE_EPOCH"] = str(epoch)  # useradd(8) writes the day of the last change of a password
        root.run("sh", "-c", f"{install}\n{_ADAPT}", binds=[Bind(path, "/tmp/fetch-debsrc")], env=env)


def _clean(tree: Path) -> None:
    """Remove files with names of this machine, of its package sources, or times."""
    inside(tree, _remove_leftovers, _LEFTOVERS)
    remove_tree(tree / "dev")
    (tree / "dev").mkdir()
    Tree(tree).write("etc/apt/sources.list", b"")


def _remove_leftovers(patterns: Sequence[str]) -> None:
    for pattern in patterns:
        for path in Path("/").glob(pattern):
            remove_tree(path)
