# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="scanelf, with which Portage looks into programs"

LICENSE="GPL-2"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="sys-libs/glibc"

SYSTEM_PROGRAMS="dumpelf scanelf"
