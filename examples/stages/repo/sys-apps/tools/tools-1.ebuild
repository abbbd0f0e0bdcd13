# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="The programs that Portage and a build call, in one package, because each package takes seconds"

LICENSE="BSD BSD-2 bzip2 GPL-2 GPL-2+ GPL-3+ LGPL-2.1+ public-domain"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="sys-libs/system-libs"

# Archives: bzip2, gzip, tar (Portage calls gtar to unpack), xz, zstd.
SYSTEM_PROGRAMS="
	bunzip2 bzcat bzip2 bzip2recover
	gunzip gzip zcat
	gtar tar
	lzmainfo unxz xz xzcat
	unzstd zstd zstdcat zstdmt
"
# Builds: diffutils, make, patch, pax-utils.
SYSTEM_PROGRAMS+="
	cmp diff diff3 sdiff
	gmake make
	patch
	dumpelf scanelf
"
# Text and files: file, findutils, grep, mawk, sed.
SYSTEM_PROGRAMS+="
	file
	find xargs
	egrep fgrep grep
	mawk
	sed
"
# util-linux
SYSTEM_PROGRAMS+="
	agetty blkid dmesg findmnt flock getopt ionice logger losetup lsblk mkswap more
	mount mountpoint nsenter prlimit renice script setarch setpriv setsid
	swapoff swapon switch_root taskset umount unshare wipefs
"
SYSTEM_FILES="usr/lib/file/magic.mgc usr/share/misc/magic.mgc"
SYSTEM_OPTIONAL="
	etc/magic
	usr/bin/lzma usr/bin/unlzma usr/bin/lzcat
	usr/bin/linux32 usr/bin/linux64
	usr/include/gnumake.h
"

src_install() {
	system-files_src_install
	dosym mawk /usr/bin/awk
}
