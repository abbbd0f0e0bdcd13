# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="An oil lamp of old, masked"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64 arm64"
