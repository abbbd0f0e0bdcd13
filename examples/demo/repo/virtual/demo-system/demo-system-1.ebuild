# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="What every system of the demo has"

SLOT="0"
KEYWORDS="amd64"
IUSE="+network"

RDEPEND="
	acct-user/demo
	app-misc/console-greeting
	sys-apps/busybox[static]
	sys-apps/demo-baselayout
	network? ( net-misc/udhcpc-net )
"
