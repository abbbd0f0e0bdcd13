# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="A C program that says hello"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"
IUSE="shout +static"

src_compile() {
	local cc=${CC:-${CHOST}-gcc}
	set -- ${cc} ${CPPFLAGS} ${CFLAGS} $(usev shout -DSHOUT) ${LDFLAGS} \
		$(usev static -static) -o hello "${FILESDIR}"/hello.c
	echo "$@"
	"$@" || die "the compiler failed"
}

src_test() {
	local expected="hello, test"
	use shout && expected="HELLO, TEST"
	[[ $(./hello test) == "${expected}"* ]] || die "hello does not say ${expected}"
}

src_install() {
	dobin hello
}
