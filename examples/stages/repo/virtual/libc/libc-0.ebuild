# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="The C library"

SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="sys-libs/glibc"
