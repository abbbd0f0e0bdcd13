# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="The headers of the kernel, for programs"

LICENSE="GPL-2"
SLOT="0"
KEYWORDS="amd64 arm64"

SYSTEM_FILES="usr/include/linux usr/include/asm-generic usr/include/*-linux-gnu*/asm"
SYSTEM_OPTIONAL="
	usr/include/cxl usr/include/drm usr/include/fwctl usr/include/misc usr/include/mtd
	usr/include/rdma usr/include/regulator usr/include/sound usr/include/video usr/include/xen
"
