# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="A light that burns either oil or wax: neither, or both, cannot be built"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64 arm64"
IUSE="oil wax"
REQUIRED_USE="^^ ( oil wax )"

src_install() {
	newbin - lamp <<-END
		#!/bin/sh
		echo "burns $(usev oil)$(usev wax)"
	END
}
