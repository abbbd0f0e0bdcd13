# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="Packs the initramfs"

LICENSE="GPL-3+"
SLOT="0"
KEYWORDS="amd64"

RDEPEND="sys-libs/system-libs"

SYSTEM_PROGRAMS="cpio"
