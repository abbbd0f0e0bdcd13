# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="Time zones: a handful, with the rules of today"
HOMEPAGE="https://www.iana.org/time-zones"
S="${WORKDIR}"

LICENSE="public-domain"
SLOT="0"
KEYWORDS="amd64 arm64"

src_compile() {
	zic -b slim -d zoneinfo "${FILESDIR}"/zones || die "zic failed"
}

src_install() {
	insinto /usr/share
	doins -r zoneinfo
}

pkg_postinst() {
	[[ -e ${EROOT}/etc/localtime || -L ${EROOT}/etc/localtime ]] ||
		ln -s ../usr/share/zoneinfo/Factory "${EROOT}/etc/localtime" || die
}
