# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="The xz compressor"

LICENSE="public-domain LGPL-2.1+ GPL-2+"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="sys-libs/system-libs"

SYSTEM_PROGRAMS="lzmainfo unxz xz xzcat"
SYSTEM_OPTIONAL="usr/bin/lzma usr/bin/unlzma usr/bin/lzcat"
