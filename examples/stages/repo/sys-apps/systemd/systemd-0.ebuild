# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="A stand-in for systemd: systemctl, as far as it works on files"
HOMEPAGE="https://wiki.gentoo.org/wiki/Systemd"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="
	app-shells/bash:0
	sys-apps/baselayout
"

src_install() {
	dobin "${FILESDIR}"/systemctl
	insinto /usr/lib/systemd/system
	doins "${FILESDIR}"/*.target
	dosym multi-user.target /usr/lib/systemd/system/default.target
	insinto /usr/lib/systemd/system-preset
	doins "${FILESDIR}"/90-stages.preset
	keepdir /etc/systemd/system /etc/systemd/system-preset
}
