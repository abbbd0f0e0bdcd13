# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="What a person at a screen sees first"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64 arm64"

# Only the framed hello looks well on a screen.
RDEPEND="
	app-misc/greeter
	app-misc/hello[gui]
"

src_install() {
	newbin - panel <<-'END'
		#!/bin/sh
		# A greeting, and a hello in a frame.
		greeter && exec hello "${1:-${USER:-you}}"
	END
}
