# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="systemd where the system that builds has it, else a stand-in that works on files"
HOMEPAGE="https://wiki.gentoo.org/wiki/Systemd"

LICENSE="0BSD LGPL-2.1+"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="
	app-shells/bash:0
	sys-apps/baselayout
	sys-apps/tools
	sys-libs/system-libs
"

src_install() {
	if [[ -e ${BROOT}/usr/lib/systemd/systemd ]]; then
		systemd_install
	else
		systemd_install_stand_in
	fi
}

systemd_install() {
	SYSTEM_PROGRAMS="
		busctl journalctl systemctl systemd-firstboot systemd-machine-id-setup
		systemd-notify systemd-sysusers systemd-tmpfiles
	"
	SYSTEM_FILES="
		etc/systemd usr/lib/systemd
		usr/lib/sysctl.d usr/lib/sysusers.d usr/lib/tmpfiles.d
	"
	# What clients of the message bus need to know. The bus is another package.
	SYSTEM_OPTIONAL="usr/share/dbus-1/system*/org.freedesktop.*"
	SYSTEM_EXCLUDE="
		usr/lib/systemd/catalog usr/lib/systemd/user*
		usr/lib/systemd/system/dbus.* usr/lib/systemd/system/*.wants/dbus.*
		usr/lib/sysusers.d/dbus.conf usr/lib/tmpfiles.d/dbus.conf
	"
	system-files_src_install
	# Debian has a package for these.
	local name
	dosym ../lib/systemd/systemd /usr/sbin/init
	for name in halt poweroff reboot shutdown; do
		dosym ../bin/systemctl "/usr/sbin/${name}"
	done
}

systemd_install_stand_in() {
	dobin "${FILESDIR}"/systemctl
	insinto /usr/lib/systemd/system
	doins "${FILESDIR}"/*.target
	dosym multi-user.target /usr/lib/systemd/system/default.target
	insinto /usr/lib/systemd/system-preset
	doins "${FILESDIR}"/90-stages.preset
	keepdir /etc/systemd/system /etc/systemd/system-preset
}
