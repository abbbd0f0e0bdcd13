# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="A library that knows a greeting for every hour"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
# The sub-slot is the number of the soname.
SLOT="0/1"
KEYWORDS="amd64 arm64"
IUSE="static-libs"

src_compile() {
	local cc=${CC:-${CHOST}-gcc}
	${cc} ${CPPFLAGS} ${CFLAGS} -fPIC -c -o greetings.o "${FILESDIR}"/greetings.c || die
	${cc} ${CFLAGS} ${LDFLAGS} -shared -Wl,-soname,lib${PN}.so.${SLOT#*/} \
		-o lib${PN}.so.${PV} greetings.o || die
	! use static-libs || "${AR:-${CHOST}-ar}" rcs lib${PN}.a greetings.o || die
}

src_install() {
	dolib.so lib${PN}.so.${PV}
	dosym lib${PN}.so.${PV} /usr/$(get_libdir)/lib${PN}.so.${SLOT#*/}
	dosym lib${PN}.so.${PV} /usr/$(get_libdir)/lib${PN}.so
	! use static-libs || dolib.a lib${PN}.a
	doheader "${FILESDIR}"/greetings.h
}
