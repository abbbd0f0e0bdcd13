# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="The demo's file-system layout, accounts and start scripts"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"

pkg_pretend() {
	# It owns /bin, /lib and /etc/passwd: deadly for a system that has them.
	[[ -n ${ROOT} ]] || die "${PN} must be installed with ROOT set, never into /"
}

src_install() {
	# One place for programs: every other package installs into /usr/bin.
	keepdir /usr/bin /usr/lib /usr/lib64
	dosym usr/bin /bin
	dosym usr/bin /sbin
	dosym usr/lib /lib
	dosym usr/lib64 /lib64
	dosym bin /usr/sbin

	keepdir /dev /etc/rc.d /home /mnt /proc /run /sys /usr/share \
		/var/lib /var/log
	dosym ../run /var/run
	diropts -m0555
	keepdir /var/empty
	diropts -m0700
	keepdir /root
	diropts -m1777
	keepdir /tmp /var/tmp

	insinto /etc
	doins "${FILESDIR}"/{fstab,group,hostname,inittab,issue,passwd,profile,shells}
	insopts -m0600
	doins "${FILESDIR}"/shadow
	insopts -m0644
	insinto /usr/lib
	doins "${FILESDIR}"/os-release
	dosym ../usr/lib/os-release /etc/os-release
	dosym ../proc/self/mounts /etc/mtab
	exeinto /etc/rc.d
	doexe "${FILESDIR}"/{rcS,rcK}
}
