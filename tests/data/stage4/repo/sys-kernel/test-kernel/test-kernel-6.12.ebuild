# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="What other packages see of a kernel"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="${PV}"
KEYWORDS="amd64"

src_install() {
	echo "VERSION = ${PV}" > Makefile || die
	insinto "/usr/src/linux-${PV}"
	doins Makefile
	touch modules.builtin modules.order || die
	insinto "/lib/modules/${PV}"
	doins modules.builtin modules.order
	insinto /usr/share/doc/test-kernel
	doins Makefile
}
