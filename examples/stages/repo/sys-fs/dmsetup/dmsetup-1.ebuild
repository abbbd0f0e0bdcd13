# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="Looks after devices of the device mapper"

LICENSE="GPL-2"
SLOT="0"
KEYWORDS="amd64"

RDEPEND="sys-libs/system-libs"

SYSTEM_PROGRAMS="dmsetup"
