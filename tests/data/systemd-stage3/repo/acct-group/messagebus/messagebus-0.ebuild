# Distributed under the terms of the 0BSD licence

EAPI=8

inherit accounts

DESCRIPTION="The group of the system message bus"
KEYWORDS="amd64 arm64"

ACCOUNT_ID=101
RDEPEND="sys-apps/baselayout"
