# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="The GNU Bourne Again shell"

LICENSE="GPL-3+"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="sys-libs/system-libs"

SYSTEM_PROGRAMS="bash rbash"

src_install() {
	system-files_src_install
	insinto /etc/bash
	doins "${FILESDIR}"/bashrc
}
