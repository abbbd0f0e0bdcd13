# Distributed under the terms of the 0BSD licence

EAPI=8

inherit accounts

DESCRIPTION="The group of the package manager"
KEYWORDS="amd64 arm64"

ACCOUNT_ID=250
RDEPEND="sys-apps/baselayout"
