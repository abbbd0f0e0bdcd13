# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="Can be built once"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"

src_compile() {
	[[ -e ${BROOT}/usr/share/built-once ]] && die "this was built before"
	echo built > built-once || die
}

src_install() {
	insinto /usr/share
	doins built-once
}
