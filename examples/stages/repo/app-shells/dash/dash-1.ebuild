# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="A small shell, and the one that /bin/sh is"

LICENSE="BSD"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="sys-libs/glibc"

SYSTEM_PROGRAMS="dash"

src_install() {
	system-files_src_install
	dosym dash /usr/bin/sh
}
