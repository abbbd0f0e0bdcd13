# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="Its distfile is nowhere"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
SRC_URI="debsrc://no-such-source/no-such-source_1.orig.tar.gz -> no-such-source-1.tar.gz"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"
RESTRICT="mirror"
