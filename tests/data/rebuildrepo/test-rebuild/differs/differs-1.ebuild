# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="Installs the moment of its build, one file more when built again, and one less"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"
IUSE="+extra"

src_install() {
	insinto /usr/share/differs
	date +%s.%N > moment || die
	echo always > constant || die
	echo constant > "name with spaces -> and more" || die
	doins moment constant "name with spaces -> and more"
	dosym constant /usr/share/differs/link
	local name=first
	[[ -e ${EROOT}/usr/share/differs/first ]] && name=second
	newins constant ${name}
	use extra && newins constant extra
}
