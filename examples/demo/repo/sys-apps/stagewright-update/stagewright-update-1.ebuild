# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="Updates a system of two slots from a signed feed, without systemd"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64 arm64"

# At run time: a POSIX shell with the usual programs (busybox has all of them), sfdisk, gpgv, and curl or wget. Stagewright
# reports those that the root of a disk image does not have. A root takes them from any place, so there is no RDEPEND.

src_install() {
	dobin "${FILESDIR}"/stagewright-update
	insinto /usr/lib/stagewright-update
	doins "${FILESDIR}"/lib/*.sh
	# Each does nothing in a root without /etc/stagewright-update/update.conf.
	exeinto /etc/rc.d
	doexe "${FILESDIR}"/service/{S01update-watch,S99update-bless}
	exeinto /etc/init.d
	newexe "${FILESDIR}"/service/stagewright-update-watch.initd stagewright-update-watch
	newexe "${FILESDIR}"/service/stagewright-update.initd stagewright-update
}
