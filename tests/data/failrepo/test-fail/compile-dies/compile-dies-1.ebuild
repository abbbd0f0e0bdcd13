# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="Fails to compile"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"

src_compile() {
	echo "int main(void) { return missing; }" > broken.c || die
	${CC:-${CHOST}-gcc} -c broken.c || die "the compiler failed on broken.c"
}
