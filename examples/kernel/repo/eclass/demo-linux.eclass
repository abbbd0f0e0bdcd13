# Distributed under the terms of the 0BSD licence

# @ECLASS: demo-linux.eclass
# @BLURB: sources of the kernel, out of the source package that Debian has
# @DESCRIPTION:
# The source package holds upstream's tarball without a few files of firmware. The version is an old one on purpose:
# the release keeps it for good, while newer ones come and go with security updates.

HOMEPAGE="https://www.kernel.org/"
SRC_URI="debsrc://linux/linux_${PV}.orig.tar.xz -> linux-${PV}.tar.xz"
S="${WORKDIR}/linux-${PV}"

LICENSE="GPL-2"
RESTRICT="binchecks mirror strip test"

# Code of other architectures, documentation and tests are half of it, and a demo can do without.
demo-linux_src_unpack() {
	local top=linux-${PV} arch drop=()
	for arch in alpha arc arm arm64 csky hexagon ia64 loongarch m68k microblaze mips nios2 openrisc parisc powerpc \
		riscv s390 sh sparc um xtensa; do
		drop+=( "${top}/arch/${arch}/*."{[chSs],dts,dtsi} "${top}/arch/${arch}/*_defconfig" )
	done
	drop+=( "${top}/Documentation/*/*" "${top}"/tools/{perf,testing} "${top}/drivers/gpu/drm/amd/include" )
	tar -xf "${DISTDIR}/${top}.tar.xz" "${drop[@]/#/--exclude=}" || die "tar failed"
}

# demo-linux_version <suffix>: what `make kernelrelease` says ends in -suffix
demo-linux_version() {
	sed -i -e "s/^EXTRAVERSION =.*/EXTRAVERSION = -${1}/" Makefile || die
}

EXPORT_FUNCTIONS src_unpack
