# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="Is what says hello"

SLOT="0"
KEYWORDS="amd64"

RDEPEND="|| ( app-misc/nothing app-misc/hello )"
