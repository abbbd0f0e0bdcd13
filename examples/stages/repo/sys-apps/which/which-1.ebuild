# Distributed under the terms of the 0BSD licence

EAPI=8

inherit system-files

DESCRIPTION="Tells which program a name calls"

LICENSE="GPL-2+"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="app-shells/dash"

# Debian's is a script behind an alternative; a stage has it under its own name.
src_install() {
	newbin "$(realpath "${BROOT}/usr/bin/which")" which
}
