# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="The small programs of a whole system in one file"
HOMEPAGE="https://busybox.net/"
# Portage tries the last one first. It is fetched by stagewright's fetch-debsrc,
# from the Debian package sources the seed came from; upstream's is the same file.
SRC_URI="
	https://busybox.net/downloads/${P}.tar.bz2
	debsrc://${PN}/${PN}_${PV}.orig.tar.bz2 -> ${P}.tar.bz2
"

LICENSE="GPL-2"
SLOT="0"
KEYWORDS="amd64"
IUSE="debug +static"
RESTRICT="mirror test"

# busybox_config <y|n> <option>...
busybox_config() {
	local value=${1} option
	shift
	for option; do
		sed -i -e "/^CONFIG_${option}=/d" -e "/^# CONFIG_${option} is not set/d" .config || die
		if [[ ${value} == y ]]; then
			echo "CONFIG_${option}=y"
		else
			echo "# CONFIG_${option} is not set"
		fi >> .config || die
	done
}

busybox_make() {
	local cc=${CC:-${CHOST}-gcc}
	# Without a time stamp two builds give the same file.
	KCONFIG_NOTIMESTAMP=1 emake V=1 CC="${cc}" HOSTCC="${cc}" \
		AR="${AR:-${CHOST}-ar}" STRIP="${STRIP:-${CHOST}-strip}" \
		SKIP_STRIP=y "$@"
}

src_configure() {
	busybox_make -j1 defconfig > /dev/null
	busybox_config n BUILD_LIBBUSYBOX FEATURE_SHARED_BUSYBOX PIE
	busybox_config "$(usex static y n)" STATIC
	busybox_config "$(usex debug y n)" DEBUG
	# Never its own idea of optimisation, nor kernel headers newer than it.
	busybox_config n TC NANDWRITE NANDDUMP UBIATTACH UBIDETACH UBIMKVOL \
		UBIRMVOL UBIRSVOL UBIUPDATEVOL UBIRENAME
	# Left out to keep the image small: mail, printers, packages, servers.
	busybox_config n SENDMAIL POPMAILDIR REFORMIME MAKEMIME LPD LPR LPQ \
		DPKG DPKG_DEB RPM RPM2CPIO FTPD TFTPD TELNETD HTTPD NTPD \
		DNSD UDHCPD INETD RUNSV RUNSVDIR SV SVLOGD SVOK
	# Accounts without plug-ins of the C library, which a static program cannot load.
	busybox_config y USE_BB_PWD_GRP USE_BB_SHADOW USE_BB_CRYPT USE_BB_CRYPT_SHA
	# Answer the questions of oldconfig about options that the lines above enabled.
	yes "" 2> /dev/null | busybox_make -j1 oldconfig > /dev/null || die
}

src_compile() {
	busybox_make busybox busybox.links
}

src_install() {
	dobin busybox
	local link
	while read -r link; do
		[[ ${link##*/} == busybox ]] || dosym busybox "/usr/bin/${link##*/}"
	done < busybox.links
}
