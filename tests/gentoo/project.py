"""The project of the suite: a Debian seed, the real repository, and an overlay of stand-ins for what the seed has.

A stage for each family installs its ebuilds into an empty root with ``--nodeps``: the seed has the libraries and
programs that they need, from Debian's packages, which Portage does not know.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from source_package import ROOT

from gentoo.families import Candidate
from stagewright.graph.file_digest import digest_of
from stagewright.project.fields import package_of

PROFILE = "default/linux/amd64/23.0/systemd"
PYTHON = "python3_13"

SEED = (
    *("autoconf", "automake", "bc", "bison", "bzip2", "cmake", "cpio", "file", "flex", "flit", "g++", "gawk", "gcc"),
    *("gettext", "gperf", "kmod", "libc6-dev", "libelf-dev", "libmnl-dev", "libssl-dev", "libtool", "libudev-dev"),
    *("linux-headers-cloud-amd64", "m4", "make", "meson", "mount", "ninja-build", "patch", "pax-utils", "perl"),
    *("pkgconf", "python3", "python3-dev", "python3-installer", "python3-setuptools", "python3-wheel", "rsync"),
    *("systemd-dev", "texinfo", "unzip", "xz-utils", "zlib1g-dev", "zstd"),
)
"""Debian packages of the seed, a trixie: its Python is a target of today's tree."""

EBUILD = """\
EAPI=8
DESCRIPTION="{description}"
HOMEPAGE="https://example.org/"
LICENSE="metapackage"
SLOT="{slot}"
KEYWORDS="amd64"
{more}
"""

LAYOUT = """\
S="${WORKDIR}"
src_install() {
	keepdir /etc /usr/bin /usr/lib /usr/lib64 /usr/sbin /var/lib /tmp /home /root
	insinto /etc
	newins - passwd <<< "root:x:0:0:root:/root:/bin/sh"
	newins - group <<< "root:x:0:"
	newins - shadow <<< "root:*:10000:0:::::"
	newins - gshadow <<< "root:::"
}
"""

GPEP517 = """\
S="${WORKDIR}"
src_install() {
	insinto /usr/lib/python3/dist-packages
	doins -r "${FILESDIR}"/gpep517
}
"""

SCRIPT = """\
S="${WORKDIR}"
src_install() {
	newbin "${FILESDIR}"/meson-format-array.py meson-format-array
}
"""

MODULE = """\
inherit linux-mod-r1
S="${WORKDIR}"
src_unpack() {
	cp "${FILESDIR}"/{Makefile,hello.c} "${S}" || die
}
src_compile() {
	local modlist=( hello )
	local modargs=( KDIR="${KV_OUT_DIR}" )
	linux-mod-r1_src_compile
}
"""

MAKEFILE = """\
obj-m := hello.o
all:
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules
"""

HELLO_C = """\
#include <linux/init.h>
#include <linux/module.h>
MODULE_LICENSE("GPL");
static int __init hello_init(void) { return 0; }
static void __exit hello_exit(void) { }
module_init(hello_init);
module_exit(hello_exit);
"""

OWN = {"own-linux-mod-r1": "app-stagewright/hello-module", "own-stagewright": "app-admin/stagewright"}
"""Ebuilds of this project that inherit unmodified eclasses, by their stage: one for a family without a source in
Debian, and the one that users install."""


def write(path: Path, text: str) -> None:
    """Write a file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def ebuild(
    overlay: Path, cpv: str, more: str = "", *, slot: str = "0", text: str = "stands for what the seed has"
) -> None:
    """Write an ebuild of category/name-version."""
    category, _, full = cpv.partition("/")
    name = re.sub(r"-\d.*$", "", full)
    write(overlay / category / name / f"{full}.ebuild", EBUILD.format(description=text, slot=slot, more=more))


def write_overlay(overlay: Path, tree: Path, main: str) -> list[str]:
    """Write the overlay. Return the stand-ins to install: programs that eclasses look for among installed packages."""
    write(overlay / "profiles/repo_name", "stand-ins\n")
    write(overlay / "profiles/categories", "app-stagewright\n")
    write(overlay / "metadata/layout.conf", f"masters = {main}\nthin-manifests = true\n")
    ebuild(overlay, "sys-apps/baselayout-9999", LAYOUT, text="folders and accounts of an empty root")
    ebuild(overlay, "app-stagewright/hello-module-1", MODULE, text="a module by linux-mod-r1.eclass")
    files = overlay / "app-stagewright/hello-module/files"
    write(files / "Makefile", MAKEFILE)
    write(files / "hello.c", HELLO_C)
    eclass = (tree / "eclass/autotools.eclass").read_text(encoding="utf-8")
    autoconf, automake = (_latest(eclass, name) for name in ("AUTOCONF", "AUTOMAKE"))
    ebuild(overlay, f"dev-build/autoconf-{autoconf[0]}", slot=autoconf[1])
    ebuild(overlay, f"dev-build/automake-{automake[0]}", slot=automake[1])
    ebuild(overlay, "dev-build/libtool-2.5.4", slot="2")
    ebuild(overlay, "dev-lang/python-3.13.5", 'IUSE="bluetooth ncurses readline sqlite ssl xml"', slot="3.13")
    ebuild(overlay, "dev-python/gpep517-99", GPEP517)
    names = ["dev-build/libtool-2.5.4", "dev-lang/python-3.13.5", "dev-python/gpep517-99"]
    names += [f"dev-build/autoconf-{autoconf[0]}", f"dev-build/automake-{automake[0]}"]
    script = Path("dev-build/meson-format-array/files/meson-format-array.py")
    if (tree / script).is_file():  # a program of the tree itself, which meson.eclass calls
        ebuild(overlay, "dev-build/meson-format-array-99", SCRIPT)
        write(overlay / script, (tree / script).read_text(encoding="utf-8"))
        names.append("dev-build/meson-format-array-99")
    return [f"={name}::stand-ins" for name in names]


def write_packaging(folder: Path, main: str, source: Path) -> None:
    """Copy the repository with Stagewright's ebuild, for a main repository of another name, with its Manifest."""
    shutil.copytree(ROOT / "packaging/gentoo", folder)
    write(folder / "metadata/layout.conf", f"masters = {main}\nthin-manifests = true\nsign-manifests = false\n")
    digests = [f"{name.upper()} {digest_of(source, name)}" for name in ("blake2b", "sha512")]
    line = " ".join(["DIST", source.name, str(source.stat().st_size), *digests])
    write(folder / "app-admin/stagewright/Manifest", f"{line}\n")


def _latest(eclass: str, name: str) -> tuple[str, str]:
    """Return version and slot of the oldest of the newest versions that autotools.eclass takes."""
    found = re.search(rf"^_LATEST_{name}=\( (.*) \)$", eclass, re.MULTILINE)
    assert found, f"_LATEST_{name} not found in autotools.eclass"
    version, _, slot = found[1].split()[-1].partition(":")
    return version, slot


def project_text(main: str, stages: Mapping[str, Sequence[str]], tools: Sequence[str]) -> str:
    """Return the project file. ``stages`` are atoms by the name of the stage."""
    python = f'PYTHON_TARGETS = "{PYTHON}", PYTHON_SINGLE_TARGET = "{PYTHON}"'
    settings = f"""\
profile = "{main}:{PROFILE}"
accept_keywords = ["~amd64"]
confdir = ["confdir"]
make_conf = {{ {python}, FETCHCOMMAND = "/bin/false", RESUMECOMMAND = "/bin/false" }}
"""
    parts = [
        'format = 1\n[project]\nname = "real-tree"\nversion = "1"\nsource_date_epoch = 1700000000',
        f'[distfiles]\nfolder = "distfiles"\n[repos.{main}]\npath = "tree"\nmain = true',
        '[repos.stand-ins]\npath = "overlay"\npriority = 10\n[repos.stagewright]\npath = "packaging"',
        f'[seeds.trixie]\nbootstrap = "debian"\nsuite = "trixie"\npackages = {json.dumps(SEED)}',
        f'[stages.tools]\nkind = "stage4"\nroot = "trixie"\n{settings}packages = {json.dumps(tools)}',
    ]
    for name, atoms in stages.items():
        groups = [atom.removeprefix("=").replace("acct-user/", "acct-group/") for atom in atoms if "acct-user/" in atom]
        names = [package_of(f"={group}") or group for group in groups]  # users need their groups
        first = json.dumps([["sys-apps/baselayout::stand-ins"], *([names] if names else []), [*atoms]])
        use = json.dumps(["-nls", "-static-libs", "-test", "-verify-sig"])
        kind = f'kind = "stage3-root"\nroot = "tools"\nuse = {use}'
        parts.append(f"[stages.{name}]\n{kind}\n{settings}first = {first}\npackages = []")
    return "\n\n".join(parts) + "\n"


def stages_of(chosen: Mapping[Candidate, str]) -> dict[str, list[str]]:
    """Return atoms by the name of the stage: of the candidates by version, and of the suite's ebuilds."""
    found: dict[str, list[str]] = {}
    for candidate, version in chosen.items():
        found.setdefault(candidate.family, []).append(f"={candidate.package}-{version}")
    return {**found, **{stage: [package] for stage, package in OWN.items()}}
