# Distributed under the terms of the 0BSD licence

# @ECLASS: demo-acct.eclass
# @MAINTAINER:
# The Stagewright demo
# @SUPPORTED_EAPIS: 8
# @BLURB: add users and groups to an offline ROOT
# @DESCRIPTION:
# groupadd and useradd change the running system. These functions edit the
# files below EROOT instead. They do not change existing lines.

case ${EAPI} in
	8) ;;
	*) die "${ECLASS}: EAPI ${EAPI:-0} not supported" ;;
esac

S="${WORKDIR}"

# @FUNCTION: demo-acct_add_line
# @USAGE: <file> <line>
# @DESCRIPTION:
# Append the line to EROOT's file, unless its first field is there already.
demo-acct_add_line() {
	local file="${EROOT}${1}" line=${2}
	if [[ ! -e ${file} ]]; then
		mkdir -p "${file%/*}" || die
		: > "${file}" || die
		[[ ${file} != */*shadow ]] || chmod 0640 "${file}" || die
	fi
	grep -q "^${line%%:*}:" "${file}" && return 0
	printf '%s\n' "${line}" >> "${file}" || die "cannot write to ${file}"
}

# @FUNCTION: demo-acct_group
# @USAGE: <name> <gid>
demo-acct_group() {
	demo-acct_add_line /etc/group "${1}:x:${2}:"
}

# @FUNCTION: demo-acct_user
# @USAGE: <name> <uid> <gid> <home> <shell> <password field of shadow>
demo-acct_user() {
	demo-acct_add_line /etc/passwd "${1}:x:${2}:${3}:${1}:${4}:${5}"
	demo-acct_add_line /etc/shadow "${1}:${6}:19675:0:99999:7:::"
}
