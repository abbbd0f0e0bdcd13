# Distributed under the terms of the 0BSD licence

EAPI=8

inherit demo-linux

DESCRIPTION="Sources of the kernel, in the manner of sys-kernel/gentoo-sources"

SLOT="${PV}"
KEYWORDS="amd64"

src_prepare() {
	demo-linux_version demo
	default
}

src_compile() { :; }

src_install() {
	dodir /usr/src
	mv "${S}" "${ED}/usr/src/linux-${PV}-demo" || die
}
