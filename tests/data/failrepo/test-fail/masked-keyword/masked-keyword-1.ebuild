# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="Only for another architecture"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="arm64"
