# A stand-in for Gentoo's eclass of packages with kernel modules: it finds the kernel as that one does.

linux-mod-r1_src_compile() {
	local sources
	sources=$(readlink -f /usr/src/linux) || die "no kernel sources"
	echo "${sources##*/linux-}" > kernel || die
	echo "module for ${sources##*/linux-}" > stand-in.ko || die
}

linux-mod-r1_src_install() {
	insinto "/lib/modules/$(<kernel)/extra"
	doins stand-in.ko
}

EXPORT_FUNCTIONS src_compile src_install
