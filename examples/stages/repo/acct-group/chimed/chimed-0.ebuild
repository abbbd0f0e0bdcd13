# Distributed under the terms of the 0BSD licence

EAPI=8

inherit accounts

DESCRIPTION="The group of the chime daemon"
KEYWORDS="amd64 arm64"

ACCOUNT_ID=270
RDEPEND="sys-apps/baselayout"
