# Distributed under the terms of the 0BSD licence

EAPI=8

DESCRIPTION="sfdisk and gpgv of the root that builds, with their libraries, for sys-apps/stagewright-update"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
S="${WORKDIR}"

LICENSE="GPL-2"
SLOT="0"
KEYWORDS="amd64"
# The files are those of the distribution.
RESTRICT="strip"

src_install() {
	local program library
	for program in sfdisk gpgv; do
		program=$(PATH=${PATH}:/sbin:/usr/sbin type -P ${program}) ||
			die "${program} not found: add fdisk and gpgv to the packages of the seed"
		dobin "${program}"
		# Lines of ldd: NAME => PATH (ADDRESS), and PATH (ADDRESS) for the loader of programs.
		for library in $(ldd "${program}" | awk '$2 == "=>" { print $3; next } $1 ~ /^\// { print $1 }'); do
			case ${library} in
			/lib64/*) exeinto /usr/lib64 ;;
			*) exeinto "/usr/lib/$(basename "$(dirname "${library}")")" ;;
			esac
			newexe "$(readlink -f "${library}")" "${library##*/}"
		done
	done
}
