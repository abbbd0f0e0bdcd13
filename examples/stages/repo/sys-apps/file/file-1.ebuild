# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="Identifies the type of a file"

LICENSE="BSD-2"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="sys-libs/system-libs"

SYSTEM_PROGRAMS="file"
SYSTEM_FILES="usr/lib/file/magic.mgc usr/share/misc/magic.mgc"
SYSTEM_OPTIONAL="etc/magic"
