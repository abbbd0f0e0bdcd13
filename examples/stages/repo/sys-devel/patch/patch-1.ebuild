# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="GNU patch"

LICENSE="GPL-3+"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="sys-libs/glibc"

SYSTEM_PROGRAMS="patch"
