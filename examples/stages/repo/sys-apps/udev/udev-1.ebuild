# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="Device nodes, as Debian has them apart from systemd"

LICENSE="GPL-2+ LGPL-2.1+"
SLOT="0"
KEYWORDS="amd64"

RDEPEND="
	sys-apps/kmod
	sys-apps/systemd
	sys-libs/system-libs
"

SYSTEM_PROGRAMS="udevadm"
SYSTEM_FILES="etc/udev usr/lib/udev"
