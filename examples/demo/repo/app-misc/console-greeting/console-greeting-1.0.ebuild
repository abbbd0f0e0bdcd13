# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="A service that greets on the console with the version of the build"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"

RDEPEND="
	sys-apps/busybox
	sys-apps/demo-baselayout
"

src_install() {
	exeinto /etc/rc.d
	doexe "${FILESDIR}"/S90greeting
}
