# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="An awk"

LICENSE="GPL-2"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="sys-libs/glibc"

SYSTEM_PROGRAMS="mawk"

src_install() {
	system-files_src_install
	dosym mawk /usr/bin/awk
}
