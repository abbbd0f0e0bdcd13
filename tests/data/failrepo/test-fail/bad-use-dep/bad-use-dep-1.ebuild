# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="Wants a USE flag of hello that is off"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"

RDEPEND="app-misc/hello[shout]"
