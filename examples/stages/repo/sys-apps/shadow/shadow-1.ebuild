# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="Programs that manage users and groups"

LICENSE="BSD GPL-2"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="sys-libs/system-libs"

# Programs that use PAM are left out; the example needs no login by password.
SYSTEM_PROGRAMS="
	gpasswd groupadd groupdel groupmems groupmod grpck newgrp nologin
	pwck useradd userdel usermod
"

src_install() {
	system-files_src_install
	insinto /etc
	doins "${FILESDIR}"/login.defs
	insinto /etc/default
	doins "${FILESDIR}"/useradd
	insinto /etc/skel
	newins "${FILESDIR}"/bash_profile .bash_profile
}
