# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="A stand-in for OpenRC: runlevels, and the program that fills them"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:OpenRC"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="
	app-shells/bash:0
	sys-apps/baselayout
"

src_install() {
	into /usr
	dosbin "${FILESDIR}"/rc-update
	exeinto /etc/init.d
	doexe "${FILESDIR}"/hostname
	keepdir /etc/conf.d /etc/runlevels/{sysinit,boot,default,nonetwork,shutdown}
}

pkg_postinst() {
	# As OpenRC does: its own services begin in their runlevels.
	local link="${EROOT}/etc/runlevels/boot/hostname"
	[[ -L ${link} ]] || ln -s /etc/init.d/hostname "${link}" || die
}
