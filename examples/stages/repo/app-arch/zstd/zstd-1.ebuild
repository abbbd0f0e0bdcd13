# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="The zstd compressor"

LICENSE="BSD GPL-2"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="sys-libs/system-libs"

SYSTEM_PROGRAMS="unzstd zstd zstdcat zstdmt"
