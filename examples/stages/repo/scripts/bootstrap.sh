#!/bin/bash
# Distributed under the terms of the 0BSD licence

# Makes a stage2 of a stage1: builds the package manager and the toolchain
# again, with the tools of stage1. To be run inside it.
# The options are those of the script of the same name in Gentoo's tree.

usage() {
	cat <<-END
		Usage: ${0##*/} [options]
		  -p, --pretend    show what would be installed
		  -t, --tree       the same, as a tree
		  -f, --fetchonly  only fetch sources
		  -r, --resume     use binary packages, and make them
		  -q, --quiet      let emerge say less
		  -v, --verbose    let emerge say more
		  -d, --debug      let emerge and bash say everything
		  -i, --info       show the settings, and stop
		  -h, --help       show this, and stop
		  -V, --version    show the version, and stop
	END
}

options=( --oneshot )
for option; do
	case ${option} in
		-p|--pretend)   options+=( --pretend ) ;;
		-t|--tree)      options+=( --pretend --tree ) ;;
		-f|--fetchonly) options+=( --fetchonly ) ;;
		-r|--resume)    options+=( --usepkg --buildpkg ) ;;
		-q|--quiet)     options+=( --quiet ) ;;
		-v|--verbose)   options+=( --verbose ) ;;
		-d|--debug)     options+=( --debug ); set -x ;;
		-i|--info)      exec emerge --info ;;
		-h|--help)      usage; exit ;;
		-V|--version)   echo "bootstrap.sh of the stages example, version 1"; exit ;;
		*)              echo "${0##*/}: unknown option ${option}" >&2; usage >&2; exit 1 ;;
	esac
done

stop() {
	echo "${0##*/}: $*" >&2
	exit 1
}

profile=$(readlink -f /etc/portage/make.profile)
[[ -d ${profile} ]] || stop "/etc/portage/make.profile leads nowhere"
read -r -a use <<< "$(portageq envvar USE)"
for flag in "${use[@]}"; do
	[[ ${flag} != build && ${flag} != bootstrap ]] ||
		stop "USE has ${flag}, which is this script's to set"
done
bootstrap_use=$(portageq envvar BOOTSTRAP_USE)

# atom <name> <otherwise>: the atom of the profile's packages for a name, or another.
system=$(python3 -B - <<-'END'
	import portage
	for word in portage.settings.packages:
	    atom = portage.dep.Atom(word.lstrip("*"))
	    print(atom.cp.partition("/")[2], atom)
END
)
atom() {
	local found
	found=$(sed -n "s/^$1 //p" <<< "${system}")
	echo "${found:-$2}"
}

headers=$(portageq expand_virtual / virtual/os-headers)
libc=$(portageq expand_virtual / virtual/libc)
portage=$(atom portage sys-apps/portage)
toolchain=(
	"${headers:-sys-kernel/linux-headers}"
	"$(atom binutils sys-devel/binutils)"
	"$(atom gcc sys-devel/gcc)"
	"${libc:-sys-libs/glibc}"
	"$(atom baselayout sys-apps/baselayout)"
	sys-libs/system-libs
)

# Updates may replace every file of a stage1.
export CONFIG_PROTECT="-*"
export FEATURES="${FEATURES} -collision-protect"

echo "[1/2] The package manager: ${portage}"
USE="-* build bootstrap ${bootstrap_use}" emerge "${options[@]}" "${portage}" ||
	stop "the package manager failed"
echo "[2/2] The toolchain: ${toolchain[*]}"
USE="-* bootstrap ${bootstrap_use}" emerge "${options[@]}" "${toolchain[@]}" ||
	stop "the toolchain failed"
