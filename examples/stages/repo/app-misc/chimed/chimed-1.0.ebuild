# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="A service that notes every hour with a greeting"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="
	acct-group/chimed
	acct-user/chimed
	app-misc/greeter
	app-shells/dash
	virtual/service-manager
"

src_install() {
	dosbin "${FILESDIR}"/chimed
	newinitd "${FILESDIR}"/chimed.initd chimed
	newconfd "${FILESDIR}"/chimed.confd chimed
	insinto /usr/lib/systemd/system
	doins "${FILESDIR}"/chimed.service
	# Numbers, because the machine that builds does not have this user.
	diropts -m 0750 -o 270 -g 270
	keepdir /var/lib/chimed
}
