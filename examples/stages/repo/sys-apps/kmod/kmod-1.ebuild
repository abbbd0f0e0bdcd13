# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="Loads the modules of the kernel"

LICENSE="GPL-2+ LGPL-2.1+"
SLOT="0"
KEYWORDS="amd64"

RDEPEND="sys-libs/system-libs"

SYSTEM_PROGRAMS="depmod insmod kmod lsmod modinfo modprobe rmmod"
SYSTEM_OPTIONAL="etc/depmod.d etc/modprobe.d usr/lib/modprobe.d"
