# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="What starts services"

SLOT="0"
KEYWORDS="amd64 arm64"
IUSE="systemd"

RDEPEND="
	!systemd? ( sys-apps/openrc )
	systemd? ( sys-apps/systemd )
"
