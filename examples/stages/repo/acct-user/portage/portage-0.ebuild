# Distributed under the terms of the 0BSD licence

EAPI=8

inherit accounts

DESCRIPTION="The user who builds packages"
KEYWORDS="amd64 arm64"

ACCOUNT_ID=250
ACCOUNT_GROUPS="portage"
ACCOUNT_HOME="/var/lib/portage/home"
RDEPEND="acct-group/portage"
