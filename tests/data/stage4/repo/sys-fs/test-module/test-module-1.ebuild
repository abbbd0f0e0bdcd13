# Distributed under the terms of the 0BSD licence

EAPI=8

inherit linux-mod-r1

DESCRIPTION="A package with a module of the kernel, like sys-fs/zfs-kmod"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"
