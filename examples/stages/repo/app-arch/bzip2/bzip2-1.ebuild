# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="The bzip2 compressor"

LICENSE="bzip2"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="sys-libs/system-libs"

SYSTEM_PROGRAMS="bunzip2 bzcat bzip2 bzip2recover"
