# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="The message bus of the system that builds, with the owners that Gentoo's package has"

LICENSE="GPL-2+"
SLOT="0"
KEYWORDS="amd64 arm64"

# dbus-daemon drops its rights to this user, and only its group may run the helper.
DEPEND="acct-user/messagebus"
RDEPEND="
	acct-user/messagebus
	sys-apps/systemd
	sys-libs/system-libs
"

SYSTEM_PROGRAMS="dbus-daemon dbus-send dbus-uuidgen"
SYSTEM_FILES="
	usr/lib/dbus-1.0/dbus-daemon-launch-helper
	usr/lib/systemd/system/dbus.service usr/lib/systemd/system/dbus.socket
	usr/lib/systemd/system/*.wants/dbus.*
	usr/share/dbus-1/system.conf
"

src_install() {
	system-files_src_install
	# Numbers: the system that builds can have others for the names, as Debian does.
	fowners 0:101 /usr/lib/dbus-1.0/dbus-daemon-launch-helper
	fperms 4750 /usr/lib/dbus-1.0/dbus-daemon-launch-helper
	keepdir /etc/dbus-1/system.d /var/lib/dbus
	fowners 101:101 /var/lib/dbus
}
