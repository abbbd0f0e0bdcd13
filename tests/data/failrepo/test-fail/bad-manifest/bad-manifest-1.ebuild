# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="Its Manifest does not fit its distfile"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
SRC_URI="debsrc://busybox/busybox_1.35.0.orig.tar.bz2 -> busybox-1.35.0.tar.bz2"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"
RESTRICT="mirror"
