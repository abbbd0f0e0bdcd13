# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="Sleeps for five minutes"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"

src_compile() {
	echo "sleeping for 300 seconds"
	sleep 300 || die
}
