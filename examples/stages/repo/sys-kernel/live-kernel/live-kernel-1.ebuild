# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="The kernel of the system that builds, with its modules"
HOMEPAGE="https://www.kernel.org/"

LICENSE="GPL-2"
SLOT="0"
KEYWORDS="amd64"

SYSTEM_FILES="boot/vmlinuz-* usr/lib/modules/*"
SYSTEM_OPTIONAL="boot/config-*"
