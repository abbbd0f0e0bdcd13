# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="Greets according to the hour"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64 arm64"
IUSE="colour"

# Built again when the sub-slot of the library changes.
RDEPEND="dev-libs/greetings:="
DEPEND="${RDEPEND}"

src_compile() {
	set -- "${CC:-${CHOST}-gcc}" ${CPPFLAGS} ${CFLAGS} $(usev colour -DCOLOUR) ${LDFLAGS} \
		-o greeter "${FILESDIR}"/greeter.c -lgreetings
	echo "$@"
	"$@" || die "the compiler failed"
}

src_test() {
	./greeter 9 | grep -q "good morning" || die "greeter does not know the morning"
}

src_install() {
	dobin greeter
}
