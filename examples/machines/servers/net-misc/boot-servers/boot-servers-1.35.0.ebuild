# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="The web server and the DHCP server of busybox, in one program"
HOMEPAGE="https://busybox.net/"
S="${WORKDIR}/busybox-${PV}"
SRC_URI="
	https://busybox.net/downloads/busybox-${PV}.tar.bz2
	debsrc://busybox/busybox_${PV}.orig.tar.bz2 -> busybox-${PV}.tar.bz2
"

LICENSE="GPL-2"
SLOT="0"
KEYWORDS="amd64"
RESTRICT="mirror test"

servers_make() {
	local cc=${CC:-${CHOST}-gcc}
	KCONFIG_NOTIMESTAMP=1 emake V=1 CC="${cc}" HOSTCC="${cc}" \
		AR="${AR:-${CHOST}-ar}" STRIP="${STRIP:-${CHOST}-strip}" SKIP_STRIP=y "$@"
}

src_configure() {
	servers_make -j1 allnoconfig > /dev/null
	local option
	for option in STATIC LFS HTTPD FEATURE_HTTPD_RANGES UDHCPD; do
		sed -i -e "/CONFIG_${option}[= ]/d" .config || die
		echo "CONFIG_${option}=y" >> .config
	done
	yes "" 2> /dev/null | servers_make -j1 oldconfig > /dev/null || die
}

src_compile() {
	servers_make busybox
}

src_install() {
	newbin busybox boot-servers
	dosym boot-servers /usr/bin/httpd
	dosym boot-servers /usr/bin/udhcpd
}
