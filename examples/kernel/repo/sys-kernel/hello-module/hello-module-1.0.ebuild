# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="A kernel module that says hello, built against /usr/src/linux"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="GPL-2"
SLOT="0"
KEYWORDS="amd64"
RESTRICT="strip"

pkg_setup() {
	KERNEL_RELEASE=$(< "${BROOT}"/usr/src/linux/include/config/kernel.release) ||
		die "/usr/src/linux holds no kernel that was compiled"
}

src_prepare() {
	cp "${FILESDIR}"/{hello.c,Kbuild} . || die
	default
}

src_compile() {
	# ARCH is Portage's, and means something else to the kernel's Makefile.
	(
		unset ARCH CFLAGS LDFLAGS
		emake -C "/lib/modules/${KERNEL_RELEASE}/build" M="${S}" modules
	)
}

src_install() {
	insinto "/lib/modules/${KERNEL_RELEASE}/extra"
	doins hello.ko
}
