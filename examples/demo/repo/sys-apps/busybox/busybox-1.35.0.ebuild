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
	# Left out to keep the image small and the build short: mail, printers,
	# packages, servers, a second shell, tools for hardware and file systems
	# that a live system in a virtual machine does not have.
	busybox_config n SENDMAIL POPMAILDIR REFORMIME MAKEMIME LPD LPR LPQ \
		DPKG DPKG_DEB RPM RPM2CPIO FTPD TFTPD TELNETD HTTPD NTPD \
		DNSD UDHCPD INETD RUNSV RUNSVDIR SV SVLOGD SVOK
	busybox_config n CHPST ENVDIR ENVUIDGID SETUIDGID SOFTLIMIT HUSH LZOP \
		UNLZOP LZOPCAT AR UNZIP ED BC DC CROND CRONTAB SYSLOGD KLOGD LOGREAD \
		BOOTCHARTD LINUXRC MDEV ACPID VLOCK MAN INOTIFYD CHAT MICROCOM RX MT
	busybox_config n ADJTIMEX BEEP CONSPY DEVFSD DEVMEM FBSPLASH FBSET \
		FLASHCP FLASH_ERASEALL FLASH_LOCK FLASH_UNLOCK HDPARM HEXEDIT I2CGET \
		I2CSET I2CDUMP I2CDETECT I2CTRANSFER LSSCSI PARTPROBE RAIDAUTORUN \
		READAHEAD RFKILL SETSERIAL UBIRENAME VOLNAME WATCHDOG
	busybox_config n CHVT DEALLOCVT FGCONSOLE KBD_MODE LOADFONT \
		LOADKMAP OPENVT RESIZE SETCONSOLE SETFONT SETKEYCODES SETLOGCONS SHOWKEY
	busybox_config n CHATTR LSATTR TUNE2FS FSCK FSCK_MINIX MKE2FS MKFS_EXT2 \
		MKFS_MINIX MKFS_REISER MKFS_VFAT MKDOSFS FDFORMAT FDISK FREERAMDISK \
		FSFREEZE FSTRIM BLKDISCARD EJECT HWCLOCK IPCRM IPCS LAST LSPCI LSUSB \
		RDATE RDEV READPROFILE RTCWAKE SCRIPT SCRIPTREPLAY WALL
	busybox_config n ARP ARPING BRCTL DHCPRELAY DUMPLEASES ETHER_WAKE \
		FAKEIDENTD FTPGET FTPPUT IFENSLAVE IFPLUGD IFUP IFDOWN IPCALC NAMEIF \
		NBDCLIENT PSCAN SLATTACH SSL_CLIENT TCPSVD UDPSVD TELNET TFTP \
		TRACEROUTE TRACEROUTE6 TUNCTL UDHCPC6 VCONFIG WHOIS ZCIP
	busybox_config n IOSTAT LSOF MPSTAT NMETER POWERTOP SMEMCAP $(
		printf "FEATURE_VOLUMEID_%s " BCACHE BTRFS CRAMFS EROFS EXFAT F2FS HFS \
			JFS LFS LINUXRAID LUKS MINIX NILFS NTFS OCFS2 REISERFS ROMFS SYSV \
			UBIFS UDF XFS)
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
