# Distributed under the terms of the 0BSD licence

EAPI=8

inherit accounts

DESCRIPTION="The user of the chime daemon"
KEYWORDS="amd64 arm64"

ACCOUNT_ID=270
ACCOUNT_GROUPS="chimed audio"
ACCOUNT_HOME="/var/lib/chimed"
RDEPEND="acct-group/chimed"
