# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="A script that greets by means of app-misc/hello"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"

# The image has no C library, so hello must bring its own.
RDEPEND="
	acct-user/demo
	app-misc/hello[static]
"

src_install() {
	dobin "${FILESDIR}"/greet
}
