# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="The shared libraries that the programs of the system need"

LICENSE="BSD GPL-2+ LGPL-2.1+ MIT PSF-2"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="sys-libs/glibc"

# Where to begin: programs that need something besides the C library. It must
# be listed here what a package of system-files.eclass brings.
NEEDING="
	usr/bin/bash usr/bin/bzip2 usr/bin/cp usr/bin/date usr/bin/expr usr/bin/factor
	usr/bin/file usr/bin/find usr/bin/grep usr/bin/id usr/bin/install usr/bin/ls
	usr/bin/make usr/bin/md5sum usr/bin/mv usr/bin/sed usr/bin/sort usr/bin/tar usr/bin/xz usr/bin/zstd
	usr/bin/findmnt usr/bin/logger usr/bin/lsblk usr/bin/mount usr/bin/nsenter
	usr/bin/setpriv usr/bin/umount usr/bin/script usr/bin/gpasswd usr/bin/newgrp
	usr/sbin/blkid usr/sbin/losetup usr/sbin/mkswap usr/sbin/swapon
	usr/sbin/group* usr/sbin/grpck usr/sbin/pwck usr/sbin/user*
	usr/bin/python3.[0-9]* usr/lib/python3.[0-9]*/lib-dynload/*.so
	usr/bin/*-linux-gnu-as usr/bin/*-linux-gnu-ld.bfd usr/bin/*-linux-gnu-objdump
	usr/bin/*-linux-gnu-readelf usr/bin/*-linux-gnu-ar
	usr/lib/gcc/*/*/cc1 usr/lib/gcc/*/*/lto1 usr/lib/gcc/*/*/lto-wrapper
	usr/libexec/gcc/*/*/cc1 usr/libexec/gcc/*/*/lto1 usr/libexec/gcc/*/*/lto-wrapper
	usr/lib/systemd/systemd usr/lib/systemd/systemd-* usr/lib/systemd/system-generators/*
	usr/bin/busctl usr/bin/journalctl usr/bin/systemctl usr/bin/systemd-*
	usr/bin/dbus-* usr/lib/dbus-1.0/*
	usr/bin/cpio usr/bin/kmod usr/bin/udevadm usr/sbin/dmsetup usr/lib/udev/* usr/lib/dracut/dracut-install
"
# dev-lang/python leaves these out.
NOT_NEEDING="
	usr/lib/python3.*/lib-dynload/*test*.so
	usr/lib/python3.*/lib-dynload/_dbm.* usr/lib/python3.*/lib-dynload/_gdbm.*
	usr/lib/python3.*/lib-dynload/nis.* usr/lib/python3.*/lib-dynload/xx*.so
"

src_install() {
	local path library folder
	local -A programs=() libraries=()
	for path in $(set -f; system-files_expand may ${NEEDING}); do
		programs[${path}]=1
	done
	for path in $(set -f; system-files_expand may ${NOT_NEEDING}); do
		unset "programs[${path}]"
	done
	while read -r library path; do
		system-files_matches "${library}" ${SYSTEM_LIBC} ${SYSTEM_LIBGCC} && continue
		[[ ${path} == /* ]] || die "the system that builds has no ${library}"
		# The folder without the link /lib, for usr/lib is where it is.
		folder=$(realpath "${path%/*}")
		libraries[${folder#/}/${library}]=1
		# The link carries the soname; the file behind it has the version.
		libraries[$(realpath "${path}" | cut -c 2-)]=1
	done < <(
		cd "${BROOT}/" && printf '/%s\n' "${!programs[@]}" | xargs ldd |
			sed -n -E 's/^\t(\S+) => (\S+) .*/\1 \2/p; s/^\t(\S+) => not found/\1 missing/p' | sort -u
	)
	SYSTEM_FILES="${!libraries[*]}"
	system-files_src_install
	# What the terminal is called, for libtinfo.
	local terminal
	for terminal in d/dumb l/linux v/vt100 x/xterm; do
		[[ ! -e ${BROOT}/usr/lib/terminfo/${terminal} ]] || system-files_copy "usr/lib/terminfo/${terminal}"
	done
}
