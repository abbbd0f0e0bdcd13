# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="What installs packages"

SLOT="0"
KEYWORDS="amd64 arm64"

RDEPEND="sys-apps/portage"
