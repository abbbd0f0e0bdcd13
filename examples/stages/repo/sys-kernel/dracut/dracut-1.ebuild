# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="Makes the initramfs that finds the root"
HOMEPAGE="https://github.com/dracutdevs/dracut"

LICENSE="GPL-2"
SLOT="0"
KEYWORDS="amd64"

RDEPEND="
	app-arch/cpio
	app-shells/bash:0
	sys-apps/kmod
	sys-apps/udev
	sys-apps/tools
	sys-fs/dmsetup
	sys-libs/system-libs
"

SYSTEM_PROGRAMS="dracut lsinitrd"
SYSTEM_FILES="usr/lib/dracut"
SYSTEM_OPTIONAL="etc/dracut.conf etc/dracut.conf.d"
