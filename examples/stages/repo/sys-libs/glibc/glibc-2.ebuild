# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="The GNU C library"

LICENSE="LGPL-2.1+ GPL-2"
SLOT="0"
KEYWORDS="amd64 arm64"

# A binary package of it must not run away from the layout.
RDEPEND="sys-apps/baselayout"

SYSTEM_PROGRAMS="getconf getent iconv ldconfig ldd locale localedef zic"
SYSTEM_FILES="
	usr/lib/locale/C.utf8
	usr/include/*.h
	usr/include/arpa usr/include/net usr/include/netinet usr/include/netpacket
	usr/include/protocols usr/include/rpc usr/include/scsi
	usr/include/*-linux-gnu*/*.h
	usr/include/*-linux-gnu*/bits usr/include/*-linux-gnu*/gnu usr/include/*-linux-gnu*/sys
	usr/lib/*-linux-gnu*/*.o
	usr/lib/*-linux-gnu*/libc.a
	usr/lib/*-linux-gnu*/libc_nonshared.a
"
SYSTEM_OPTIONAL="
	usr/bin/ld.so usr/bin/zdump usr/bin/tzselect
	usr/include/finclude usr/include/nfs
	usr/include/netash usr/include/netatalk usr/include/netax25 usr/include/neteconet
	usr/include/netipx usr/include/netiucv usr/include/netrom usr/include/netrose
	usr/lib/ld-linux* usr/lib64/ld-linux*
	usr/lib/*-linux-gnu*/gconv
	usr/lib/*-linux-gnu*/libpthread_nonshared.a
	usr/lib/*-linux-gnu*/libg.a usr/lib/*-linux-gnu*/libmcheck.a
	usr/lib/*-linux-gnu*/libm-*.a
"
SYSTEM_EXCLUDE="usr/include/crypt.h usr/include/gnumake.h"

src_install() {
	# Each library with the archive and the link for the linker.
	SYSTEM_OPTIONAL+=" $(system-files_in 'usr/lib/*-linux-gnu*' ${SYSTEM_LIBC})"
	SYSTEM_OPTIONAL+=" $(system-files_in 'usr/lib/*-linux-gnu*' libanl.a libdl.a libm.a libmvec.a libpthread.a libresolv.a librt.a libutil.a)"
	system-files_src_install
	# Debian's link to the dynamic linker is absolute.
	local link
	for link in "${ED}"/usr/lib{,64}/ld-linux*; do
		[[ ! -L ${link} ]] || dosym -r "$(realpath "${BROOT}/${link#"${ED}"}")" "${link#"${ED}"}"
	done

	insinto /etc
	doins "${FILESDIR}"/nsswitch.conf
	# env-update makes /etc/ld.so.conf of it, and runs ldconfig.
	local folder=( "${ED}"/usr/lib/*-linux-gnu*/ )
	newenvd - 00glibc <<-END
		LDPATH="/usr/lib/$(basename "${folder[0]}"):/usr/lib"
	END
}
