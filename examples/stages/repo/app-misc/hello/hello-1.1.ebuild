# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="A C program that says hello"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="~amd64 ~arm64"
IUSE="gui"

src_compile() {
	set -- "${CC:-${CHOST}-gcc}" ${CPPFLAGS} ${CFLAGS} -DVERSION="\"${PV}\"" \
		$(usev gui -DGUI) ${LDFLAGS} -o hello "${FILESDIR}"/hello.c
	echo "$@"
	"$@" || die "the compiler failed"
}

src_test() {
	./hello test | grep -q "hello, test, version ${PV}" || die "hello does not say hello"
}

src_install() {
	dobin hello
}
