# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="When built again it comes with a compiler that does nothing"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"

src_install() {
	local program=${CHOST}-gcc
	[[ -e ${EROOT}/usr/share/breaks-compiler ]] || program=breaks-compiler
	printf '#!/bin/sh\nexit 0\n' > ${program} || die
	exeinto /usr/local/bin
	doexe ${program}
	echo > mark || die
	insinto /usr/share
	newins mark breaks-compiler
}
