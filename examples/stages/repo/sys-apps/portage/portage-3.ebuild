# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="The package manager"

LICENSE="GPL-2"
SLOT="0"
KEYWORDS="amd64 arm64"
IUSE="build"

# With USE=build only what a stage1 has anyway: the order of things is known there.
RDEPEND="
	acct-user/portage
	dev-lang/python
	!build? (
		app-shells/bash:0
		sys-apps/baselayout
		sys-apps/coreutils
		sys-apps/tools
		virtual/libc
	)
"

SYSTEM_PROGRAMS="
	archive-conf dispatch-conf ebuild egencache emaint emerge env-update etc-update
	fixpackages glsa-check portageq quickpkg regenworld
"
SYSTEM_FILES="
	etc/dispatch-conf.conf etc/etc-update.conf
	usr/lib/portage usr/share/portage
	usr/lib/python3/dist-packages/_emerge
	usr/lib/python3/dist-packages/portage
	usr/lib/python3/dist-packages/portage-[0-9]*
"
# What fetches sources from Debian's source packages, where the seed has it.
SYSTEM_OPTIONAL="usr/libexec/stagewright"

src_install() {
	system-files_src_install
	system-files_compile_python
	# No keepdir below /etc/portage, /var/cache and /var/db: a driver binds its
	# own folders there, some of them read-only.
	diropts -o 250 -g 250 -m 0775
	keepdir /var/lib/portage
}
