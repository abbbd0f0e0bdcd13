# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="Shows the path of a command"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="app-shells/dash"

src_install() {
	dobin "${FILESDIR}"/which
}
