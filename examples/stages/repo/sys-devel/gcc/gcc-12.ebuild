# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="The GNU compiler for C"

LICENSE="GPL-3+ gcc-runtime-library-exception-3.1"
SLOT="0"
KEYWORDS="amd64 arm64"
IUSE="native-symlinks"

RDEPEND="
	sys-devel/binutils
	sys-libs/glibc
	sys-libs/system-libs
	virtual/os-headers
"

SYSTEM_FILES="usr/lib/gcc"
# C++ where the system that builds has it.
SYSTEM_OPTIONAL="
	usr/libexec/gcc
	usr/lib/bfd-plugins/liblto_plugin.so
	usr/include/c++ usr/include/*-linux-gnu*/c++
	usr/bin/*-linux-gnu-cpp-[0-9]* usr/bin/*-linux-gnu-g++-[0-9]*
	usr/bin/*-linux-gnu-gcc-[0-9]* usr/bin/*-linux-gnu-gcc-ar-[0-9]*
	usr/bin/*-linux-gnu-gcc-nm-[0-9]* usr/bin/*-linux-gnu-gcc-ranlib-[0-9]*
	usr/bin/*-linux-gnu-gcov-[0-9]*
"
# The sanitizers are large, and the compiler of LTO objects is as large as that of C.
SYSTEM_EXCLUDE="
	usr/lib/gcc/*/*/lib[alt]san* usr/lib/gcc/*/*/libhwasan* usr/lib/gcc/*/*/libubsan*
	usr/lib/gcc/*/*/libcc1* usr/lib/gcc/*/*/lto1
	usr/lib/gcc/*/*/plugin usr/libexec/gcc/*/*/plugin
"

src_install() {
	local program name
	SYSTEM_OPTIONAL+=" $(system-files_in 'usr/lib/*-linux-gnu*' ${SYSTEM_LIBGCC})"
	system-files_src_install
	# x86_64-linux-gnu-gcc-12 is also CHOST-gcc, and gcc for those who want it.
	for program in "${ED}"/usr/bin/*-linux-gnu-*-[0-9]*; do
		program=${program##*/}
		name=${program#*-linux-gnu-}
		name=${name%-*}
		dosym "${program}" "/usr/bin/${CHOST}-${name}"
		! use native-symlinks || dosym "${program}" "/usr/bin/${name}"
	done
	if use native-symlinks; then
		dosym gcc /usr/bin/cc
		dosym ../bin/cpp /usr/lib/cpp
		[[ ! -e ${ED}/usr/bin/g++ ]] || dosym g++ /usr/bin/c++
	fi
	insinto /etc/env.d/gcc
	newins - "${CHOST}-${PV}" <<-END
		PATH="/usr/bin"
		GCC_PATH="/usr/bin"
		CTARGET="${CHOST}"
	END
}
