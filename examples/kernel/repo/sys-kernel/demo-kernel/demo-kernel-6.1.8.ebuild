# Distributed under the terms of the 0BSD licence

EAPI=8

inherit demo-linux

DESCRIPTION="A kernel with its modules, where sys-kernel/gentoo-kernel has them"

SLOT="${PV}"
KEYWORDS="amd64"

# Not with Portage's variables: ARCH means something else to these Makefiles, and the flags are those of programs.
demo-kernel_make() {
	(
		unset ARCH CFLAGS CPPFLAGS CXXFLAGS LDFLAGS
		export KBUILD_BUILD_USER=portage KBUILD_BUILD_HOST=demo KBUILD_BUILD_TIMESTAMP="@${SOURCE_DATE_EPOCH:-0}"
		emake "${@}"
	)
}

src_prepare() {
	demo-linux_version dist
	default
}

src_configure() {
	local more=( "${BROOT}"/etc/kernel/config.d/*.config )
	[[ -e ${more[0]} ]] || more=()
	demo-kernel_make KCONFIG_ALLCONFIG="${FILESDIR}"/live.config allnoconfig
	scripts/kconfig/merge_config.sh -m .config "${more[@]}" || die
	demo-kernel_make olddefconfig
}

src_compile() {
	demo-kernel_make all
}

src_install() {
	local version=${PV}-dist
	local tree=/usr/src/linux-${version}
	demo-kernel_make INSTALL_MOD_PATH="${ED}" INSTALL_MOD_STRIP=1 DEPMOD=true modules_install

	# What building modules takes.
	dodir "${tree}"
	find . \( -name 'Makefile*' -o -name 'Kbuild*' -o -name 'Kconfig*' \) -not -path './Documentation/*' \
		-exec cp --parents -t "${ED}${tree}" {} + || die
	cp --parents -Rt "${ED}${tree}" .config Module.symvers System.map include scripts arch/x86/include \
		arch/x86/boot/bzImage || die
	[[ ! -e tools/objtool/objtool ]] || cp --parents -t "${ED}${tree}" tools/objtool/objtool || die
	find "${ED}${tree}" \( -name '*.o' -o -name '.*.cmd' \) -delete || die

	# Whole paths, which are right whether or not /lib is a link to /usr/lib.
	local link
	rm -f "${ED}/lib/modules/${version}"/{build,source} || die
	for link in build source; do
		dosym "${tree}" "/lib/modules/${version}/${link}"
	done
	dosym "${tree}/.config" "/lib/modules/${version}/config"
	dosym "${tree}/System.map" "/lib/modules/${version}/System.map"
	dosym "${tree}/arch/x86/boot/bzImage" "/lib/modules/${version}/vmlinuz"
}
