# Distributed under the terms of the 0BSD licence

EAPI=8

inherit demo-acct

DESCRIPTION="The demo's group"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"

RDEPEND="sys-apps/demo-baselayout"

pkg_postinst() {
	demo-acct_group demo 1000
}
