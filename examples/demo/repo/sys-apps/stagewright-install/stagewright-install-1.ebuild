# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="Installs the running live system, a tarball or a disk image on a disk"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64 arm64"

# At run time: a POSIX shell with the usual programs (busybox has all of them), sfdisk or systemd-repart, and a mkfs for
# each file system of the layout. The program names all that are missing before it writes. A live root takes them from
# any place, so there is no RDEPEND.

src_install() {
	dobin "${FILESDIR}"/stagewright-install
	insinto /usr/lib/stagewright-install
	doins "${FILESDIR}"/lib/*.sh
	insinto /usr/share/stagewright-install
	doins -r "${FILESDIR}"/layouts
	# Each starts the installation only if the kernel has the argument stagewright.install=.
	exeinto /etc/rc.d
	doexe "${FILESDIR}"/service/S95install
	exeinto /etc/init.d
	newexe "${FILESDIR}"/service/stagewright-install.initd stagewright-install
	insinto /usr/lib/systemd/system
	doins "${FILESDIR}"/service/stagewright-install.service
	dosym ../stagewright-install.service /usr/lib/systemd/system/multi-user.target.wants/stagewright-install.service
}
