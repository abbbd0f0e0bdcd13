# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="One half of the question which was first: it takes app-misc/hen to build"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64 arm64"

DEPEND="app-misc/hen"
