# Distributed under the terms of the 0BSD licence

# @ECLASS: accounts.eclass
# @MAINTAINER:
# The Stagewright examples
# @SUPPORTED_EAPIS: 8
# @BLURB: packages that are a group or a user
# @DESCRIPTION:
# The line goes into the files below EROOT, running system or not. A line that
# exists already is left alone, and it stays when the package goes, so that
# files keep their owner.

case ${EAPI} in
	8) ;;
	*) die "${ECLASS}: EAPI ${EAPI:-0} not supported" ;;
esac

# @ECLASS_VARIABLE: ACCOUNT_ID
# @REQUIRED
# @DESCRIPTION:
# The number of the group or user.

# @ECLASS_VARIABLE: ACCOUNT_GROUPS
# @DESCRIPTION:
# Groups of a user, the primary one first.

# @ECLASS_VARIABLE: ACCOUNT_HOME
# @DESCRIPTION:
# Home folder of a user.
: "${ACCOUNT_HOME:=/dev/null}"

# @ECLASS_VARIABLE: ACCOUNT_SHELL
# @DESCRIPTION:
# Shell of a user.
: "${ACCOUNT_SHELL:=/bin/false}"

S="${WORKDIR}"
HOMEPAGE="https://wiki.gentoo.org/wiki/Project:Portage"
LICENSE="0BSD"
SLOT="0"

accounts_add() {
	local file="${EROOT}${1}" line=${2}
	[[ -e ${file} ]] || die "there is no ${file}: is sys-apps/baselayout installed?"
	grep -q "^${line%%:*}:" "${file}" && return 0
	printf '%s\n' "${line}" >> "${file}" || die "cannot write to ${file}"
}

accounts_pkg_preinst() {
	case ${CATEGORY} in
		acct-group)
			accounts_add /etc/group "${PN}:x:${ACCOUNT_ID}:"
			;;
		acct-user)
			local group gid groups
			read -r -a groups <<< "${ACCOUNT_GROUPS}"
			gid=$(awk -F: -v name="${groups[0]}" '$1 == name { print $3 }' "${EROOT}/etc/group")
			[[ -n ${gid} ]] || die "there is no group ${groups[0]}"
			accounts_add /etc/passwd "${PN}:x:${ACCOUNT_ID}:${gid}:${DESCRIPTION}:${ACCOUNT_HOME}:${ACCOUNT_SHELL}"
			accounts_add /etc/shadow "${PN}:!*:19675::::::"
			for group in "${groups[@]:1}"; do
				grep -q "^${group}:" "${EROOT}/etc/group" || die "there is no group ${group}"
				sed -i -E "/^${group}:([^:]*:){2}(.*,)?${PN}(,|\$)/! s/^(${group}:[^:]*:[^:]*:)(.*)/\1\2,${PN}/; s/^(${group}:[^:]*:[^:]*:),/\1/" \
					"${EROOT}/etc/group" || die
			done
			;;
		*)
			die "${ECLASS} is for acct-group and acct-user"
			;;
	esac
}

EXPORT_FUNCTIONS pkg_preinst
