"""The unmodified ebuilds that the suite builds, by what they inherit, and the Debian source packages of their sources.

Debian distributes many source files without a change. Those that match the Manifest of the repository are used.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """A package of the repository: its family, and the Debian source package with its source ("": it has none).

    ``version`` is needed where it cannot be read from the name of the source file.
    """

    family: str
    package: str
    debian: str = ""
    version: str = ""


CANDIDATES = (
    *(Candidate("acct-group", f"acct-group/{name}") for name in ("dnsmasq", "messagebus", "sshd")),
    *(Candidate("acct-user", f"acct-user/{name}") for name in ("dnsmasq", "messagebus", "sshd")),
    Candidate("make", "app-arch/ncompress", "ncompress"),
    Candidate("make", "dev-libs/xxhash", "xxhash"),
    Candidate("make", "sys-apps/keyutils", "keyutils"),
    Candidate("configure", "net-libs/libmnl", "libmnl"),
    Candidate("configure", "net-libs/libnfnetlink", "libnfnetlink"),
    Candidate("configure", "dev-libs/mpdecimal", "mpdecimal"),
    Candidate("configure", "sys-apps/iucode_tool", "iucode-tool"),
    Candidate("libtool", "sys-apps/attr", "attr"),
    Candidate("libtool", "dev-libs/libpipeline", "libpipeline"),
    Candidate("libtool", "net-libs/libnftnl", "libnftnl"),
    Candidate("autotools", "dev-libs/libyaml", "libyaml"),
    Candidate("autotools", "app-containers/catatonit", "catatonit"),
    Candidate("autotools", "net-misc/bridge-utils", "bridge-utils"),
    Candidate("autotools", "dev-util/patchelf", "patchelf"),
    Candidate("autotools", "dev-libs/npth", "npth"),
    Candidate("autotools", "net-libs/rpcsvc-proto", "rpcsvc-proto"),
    Candidate("autotools", "sys-fs/inotify-tools", "inotify-tools"),
    Candidate("meson", "dev-libs/inih", "libinih"),
    Candidate("meson", "dev-libs/jsoncpp", "libjsoncpp"),
    Candidate("meson", "app-arch/lz4", "lz4"),
    Candidate("cmake", "sys-process/tini", "tini"),
    Candidate("cmake", "dev-libs/cJSON", "cjson"),
    Candidate("cmake", "dev-cpp/gflags", "gflags"),
    Candidate("perl-module", "dev-perl/File-Slurper", "libfile-slurper-perl", "0.14.0-r1"),
    Candidate("perl-module", "dev-perl/Parse-Yapp", "libparse-yapp-perl", "1.210.0-r1"),
    Candidate("distutils-r1", "dev-python/six", "six"),
    Candidate("distutils-r1", "dev-python/wheel", "wheel"),
    Candidate("distutils-r1", "dev-python/pycparser", "pycparser"),
    Candidate("distutils-r1", "dev-python/editables", "python-editables"),
    Candidate("distutils-r1", "dev-python/markupsafe", "markupsafe"),
    Candidate("distutils-r1", "dev-python/mdurl", "mdurl"),
    Candidate("python-any-r1", "dev-build/ninja", "ninja-build"),
    Candidate("systemd", "sys-power/acpid", "acpid"),
    Candidate("linux-mod-r1", "net-firewall/ipset", "ipset"),
    Candidate("data", "dev-libs/gobject-introspection-common", "gobject-introspection"),
    Candidate("data", "app-alternatives/awk"),
)
"""All candidates. Those whose source Debian does not have for the repository's version are skipped."""
