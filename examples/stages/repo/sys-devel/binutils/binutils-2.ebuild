# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="The GNU assembler, linker and their kin"

LICENSE="GPL-3+"
SLOT="0"
KEYWORDS="amd64 arm64"
IUSE="native-symlinks"

RDEPEND="
	sys-libs/glibc
	sys-libs/system-libs
"

TOOLS="addr2line ar as c++filt elfedit ld ld.bfd nm objcopy objdump ranlib readelf size strings strip"
SYSTEM_OPTIONAL="usr/lib/*-linux-gnu*/ldscripts/elf*"

src_install() {
	local machine tool
	# Debian's name of the machine, which its programs are called by.
	machine=$(cd "${BROOT}"/usr/lib && echo *-linux-gnu*)
	SYSTEM_PROGRAMS=${TOOLS// / ${machine}-}
	SYSTEM_PROGRAMS="${machine}-${SYSTEM_PROGRAMS}"
	system-files_src_install
	for tool in ${TOOLS}; do
		dosym "${machine}-${tool}" "/usr/bin/${CHOST}-${tool}"
		! use native-symlinks || dosym "${machine}-${tool}" "/usr/bin/${tool}"
	done
	newenvd - 05binutils <<-END
		MANPATH="/usr/share/binutils-data/${CHOST}/man"
	END
}
