# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="Programs close to the kernel"

LICENSE="GPL-2+ BSD public-domain"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="sys-libs/system-libs"

SYSTEM_PROGRAMS="
	agetty blkid dmesg findmnt flock getopt ionice logger losetup lsblk mkswap more
	mount mountpoint nsenter prlimit renice script setarch setpriv setsid
	swapoff swapon switch_root taskset umount unshare wipefs
"
SYSTEM_OPTIONAL="usr/bin/linux32 usr/bin/linux64"
