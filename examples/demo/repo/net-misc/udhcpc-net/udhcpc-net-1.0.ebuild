# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="Network by DHCP, with what busybox has"
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
	doexe "${FILESDIR}"/S50net
	exeinto /usr/share/udhcpc
	doexe "${FILESDIR}"/default.script
	dosym ../run/resolv.conf /etc/resolv.conf
}
