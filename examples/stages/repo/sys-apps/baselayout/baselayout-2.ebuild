# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="The layout of the file system, the first accounts, and the environment"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64 arm64"
IUSE="build merged-usr +unicode"

src_install() {
	insinto /etc
	doins "${FILESDIR}"/{hosts,profile,shells}
	insinto /usr/lib
	doins "${FILESDIR}"/os-release
	dosym ../usr/lib/os-release /etc/os-release
	doenvd "${FILESDIR}"/50baselayout
	if use unicode; then
		newenvd - 02locale <<< 'LANG="C.UTF-8"'
	fi
	keepdir /etc/profile.d

	# Templates: the real ones belong to the machine, not to this package.
	insinto /usr/share/baselayout
	doins "${FILESDIR}"/{fstab,group,passwd}
	insopts -m0600
	doins "${FILESDIR}"/{gshadow,shadow}
}

# The folders are not part of this package: in a running build, /dev, /proc and
# parts of /var are mounts. Only an empty root needs them.
baselayout_make_root() {
	local root=${EROOT} folder
	mkdir -p "${root}"/{boot,dev,etc/portage,home,media,mnt,opt,proc,run,srv,sys} \
		"${root}"/usr/{bin,sbin,lib,lib64,libexec,include,share,src} \
		"${root}"/usr/local/{bin,sbin,lib,share} \
		"${root}"/var/{cache/{distfiles,binpkgs},db/{pkg,repos},empty,lib/portage,log/portage,opt,spool} || die
	install -d -m 0700 "${root}/root" || die
	install -d -m 1777 "${root}"/{tmp,var/tmp} || die
	install -d -o 250 -g 250 -m 0775 "${root}"/var/{lib/portage/home,tmp/portage} || die
	for folder in bin sbin lib lib64; do
		[[ -e ${root}/${folder} || -L ${root}/${folder} ]] && continue
		if use merged-usr; then
			ln -s "usr/${folder}" "${root}/${folder}" || die
		else
			mkdir "${root}/${folder}" || die
		fi
	done
	[[ -L ${root}/etc/mtab ]] || ln -s ../proc/self/mounts "${root}/etc/mtab" || die
	[[ -L ${root}/var/run ]] || ln -s /run "${root}/var/run" || die
	[[ -L ${root}/var/lock ]] || ln -s /run/lock "${root}/var/lock" || die
}

pkg_preinst() {
	use build && baselayout_make_root
	[[ -d ${EROOT}/usr/bin ]] || die "an empty root wants USE=build first"
}

pkg_postinst() {
	local name
	for name in fstab group gshadow passwd shadow; do
		[[ -e ${EROOT}/etc/${name} ]] ||
			cp -p "${EROOT}/usr/share/baselayout/${name}" "${EROOT}/etc/" || die
	done
}
