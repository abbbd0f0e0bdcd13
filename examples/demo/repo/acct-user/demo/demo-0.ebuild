# Distributed under the terms of the 0BSD licence

EAPI=8

inherit demo-acct

DESCRIPTION="The demo's user"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"

RDEPEND="
	acct-group/demo
	sys-apps/demo-baselayout
"

src_install() {
	# Numbers, because the machine that builds does not have this user.
	diropts -m0750 -o 1000 -g 1000
	keepdir /home/demo
}

pkg_postinst() {
	# An empty password: the demo is there to be looked at.
	demo-acct_user demo 1000 1000 /home/demo /bin/sh ""
}
