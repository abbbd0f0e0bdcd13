# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="Depends on a package that nobody has"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"

RDEPEND="app-misc/no-such-package"
