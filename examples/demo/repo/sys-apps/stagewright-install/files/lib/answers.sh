# shellcheck shell=sh
# Answers: lines "key = value", parsed and never run by a shell.
#
# An answer is in the variable answer_KEY, with _ for -. Users are in user_N_name, user_N_password, and so on.
# All errors of a file are reported together.

# The keys, the kinds of their values, and the defaults.
answer_table() {
	cat << 'END'
disk disk
size size
layout layout ext4
overwrite yesno no
source source live
source-type tarball|image|squashfs
checksum checksum
digests source
signature source
signing-key file
verify required|none required
passphrase passphrase
passphrase-file file
boot auto|systemd-boot|uki|grub-bios|none auto
kernel-arguments text
console consoles
hostname hostname
locale locale
keymap word
timezone timezone
network keep|dhcp|static|none keep
interface word
address address
gateway ip
dns ips
root-password hash
root-ssh-key sshkey
user user
finish exit|reboot|poweroff exit
END
}

answer_errors=
users=0

answer_error() {
	answer_errors="$answer_errors$1: $2
${3:+  hint: $3
}"
}

# value_problem KIND VALUE: print what is wrong with a value, or nothing.
value_problem() {
	case $1 in
	*\|*) in_list "$2" "$(echo "$1" | tr '|' ' ')" || echo "is not one of $(echo "$1" | sed 's/|/, /g')" ;;
	yesno) in_list "$2" "yes no" || echo "is neither yes nor no" ;;
	size) bytes_of "$2" > /dev/null || echo "is not a size, such as 8589934592, 8G or 500GB" ;;
	disk) case $2 in
		/dev/disk/by-*/?* | serial:?* | wwn:?*) ;;
		/dev/*) echo "is a name that can change with each start; use /dev/disk/by-id/..., serial:... or wwn:..." ;;
		*) echo "is not /dev/disk/by-id/..., serial:... or wwn:..." ;;
		esac ;;
	layout) case $2 in /?* | [a-z]*) ;; *) echo "is neither the name of a layout nor the path of a folder" ;; esac ;;
	source) case $2 in live | /?* | http://?* | https://?*) ;; *) echo "is not live, a path or an address" ;; esac ;;
	file) case $2 in /?*) ;; *) echo "is not a path that begins with /" ;; esac ;;
	*) pattern_problem "$1" "$2" ;;
	esac
}

pattern_problem() {
	case $1 in
	checksum) pattern='(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})' what="sha256:HEX or sha512:HEX" ;;
	passphrase) pattern='.{8,512}' what="a passphrase of at least 8 characters" ;;
	hostname) pattern='[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*' what="a host name" ;;
	locale) pattern='[A-Za-z_]+(\.[A-Za-z0-9-]+)?(@[a-z]+)?' what="a locale, such as de_DE.UTF-8" ;;
	word) pattern='[A-Za-z0-9._-]+' what="a word of letters, digits, ., _ and -" ;;
	timezone) pattern='[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*' what="a time zone, such as Europe/Berlin" ;;
	address) pattern='[0-9a-fA-F.:]+/[0-9]{1,3}' what="an address with its prefix, such as 192.0.2.7/24" ;;
	ip) pattern='[0-9a-fA-F.:]+' what="an IP address" ;;
	ips) pattern='[0-9a-fA-F.:]+( [0-9a-fA-F.:]+)*' what="IP addresses with blanks between them" ;;
	consoles) pattern='(none|[A-Za-z0-9,]+( [A-Za-z0-9,]+)*)' what="consoles, such as tty0 ttyS0,115200, or none" ;;
	hash) pattern='(\$[0-9a-z]+\$[A-Za-z0-9./$=,-]+|!|\*)' what="a hash, made by: openssl passwd -6" ;;
	sshkey) pattern='(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/=]+( .*)?' what="a line of an OpenSSH public key" ;;
	user) pattern='[a-z_][a-z0-9_-]{0,30}' what="a user name" ;;
	groups) pattern='[a-z_][a-z0-9_-]*( [a-z_][a-z0-9_-]*)*' what="names of groups with blanks between them" ;;
	text) pattern='.*' what="text" ;;
	esac
	printf '%s\n' "$2" | grep -Eqx -e "$pattern" || echo "is not $what"
}

# read_answers FILE NAME: read all lines. NAME is what errors call the file.
read_answers() {
	number=0
	seen=
	while IFS= read -r line || [ -n "$line" ]; do
		number=$((number + 1))
		line=$(printf '%s' "$line" | sed -e 's/\r$//' -e 's/^[[:space:]]*//' -e 's/[[:space:]]*$//')
		case $line in '' | '#'*) continue ;; esac
		case $line in
		*=*) ;;
		*) answer_error "$2:$number" "not a line \"key = value\" ($line)" "begin comments with #"; continue ;;
		esac
		key=$(printf '%s' "${line%%=*}" | sed 's/[[:space:]]*$//')
		value=$(printf '%s' "${line#*=}" | sed 's/^[[:space:]]*//')
		set_answer "$2:$number" "$key" "$value"
	done < "$1"
}

# set_answer PLACE KEY VALUE
set_answer() {
	case $2 in user.*.*) set_user_answer "$@"; return ;; esac
	kind=$(answer_table | awk -v key="$2" '$1 == key { print $2 }')
	if [ -z "$kind" ]; then
		answer_error "$1" "unknown key $2" "the keys are: $(answer_table | cut -d ' ' -f 1 | tr '\n' ' ')user.NAME.KEY"
		return
	fi
	problem=$(value_problem "$kind" "$3")
	[ -z "$problem" ] || { answer_error "$1" "$2: $(shown "$kind" "$3") $problem"; return; }
	case $2 in
	user)
		! user_number "$3" || { answer_error "$1" "user $3 is there twice" "remove one of the lines"; return; }
		users=$((users + 1))
		eval "user_${users}_name=\$3 user_${users}_password= user_${users}_groups= user_${users}_keys="
		return ;;
	root-ssh-key) answer_root_ssh_key="${answer_root_ssh_key:+$answer_root_ssh_key
}$3"; return ;;
	esac
	! in_list "$2" "$seen" || { answer_error "$1" "$2 is there twice" "remove one of the lines"; return; }
	seen="$seen $2"
	variable_of "$2"
	eval "$variable=\$3"
}

# The value for a message; secrets are not repeated.
shown() {
	case $1 in passphrase | hash) echo "the value" ;; *) printf '"%s"\n' "$2" ;; esac
}

# user_number NAME: set the number of a user. Fails if there is none.
user_number() {
	user_number=1
	while [ "$user_number" -le "$users" ]; do
		eval "[ \"\$user_${user_number}_name\" != \"\$1\" ]" || return 0
		user_number=$((user_number + 1))
	done
	return 1
}

# set_user_answer PLACE user.NAME.KEY VALUE
set_user_answer() {
	name=${2#user.}
	field=${name##*.}
	name=${name%.*}
	user_number "$name" || {
		answer_error "$1" "$2: no user $name before this line" "write this line first: user = $name"
		return
	}
	case $field in
	password) problem=$(value_problem hash "$3") ;;
	groups) problem=$(value_problem groups "$3") ;;
	ssh-key) problem=$(value_problem sshkey "$3") ;;
	*) problem="is unknown: the keys of a user are password, groups and ssh-key" ;;
	esac
	[ -z "$problem" ] || { answer_error "$1" "$2: the value $problem"; return; }
	case $field in
	ssh-key) eval "user_${user_number}_keys=\"\${user_${user_number}_keys:+\$user_${user_number}_keys
}\$3\"" ;;
	*) eval "user_${user_number}_$field=\$3" ;;
	esac
}

# Set each key that has no answer to its default, or to nothing.
default_answers() {
	while read -r key _ default; do
		variable_of "$key"
		eval "[ -n \"\${$variable:-}\" ]" || eval "$variable=\$default"
	done << END
$(answer_table)
END
}

# Answers that need or exclude each other. NAME is what errors call the file.
check_answers() {
	[ -n "$image" ] || {
		[ -n "$answer_disk" ] || answer_error "$1" "no key disk" "stagewright-install --list prints the lines to write"
		[ -n "$answer_size" ] || answer_error "$1" "no key size" "stagewright-install --list prints the lines to write"
	}
	if [ "$answer_network" = static ]; then
		[ -n "$answer_address" ] || answer_error "$1" "network = static without address" "write: address = 192.0.2.7/24"
		[ -n "$answer_interface" ] || answer_error "$1" "network = static without interface" "write: interface = eth0"
	elif [ -n "$answer_address$answer_gateway$answer_dns" ]; then
		answer_error "$1" "address, gateway and dns need network = static" "write: network = static"
	fi
	[ -z "$answer_passphrase" ] || [ -z "$answer_passphrase_file" ] ||
		answer_error "$1" "passphrase and passphrase-file exclude each other" "remove one of the lines"
	case $answer_digests,$answer_signing_key in
	,?*) [ -n "$answer_signature" ] || answer_error "$1" "signing-key without digests or signature" "add one of them" ;;
	?*,) answer_error "$1" "digests without signing-key" "write: signing-key = /path/of/the/public.key" ;;
	esac
	[ -z "$answer_signature" ] || [ -n "$answer_signing_key" ] ||
		answer_error "$1" "signature without signing-key" "write: signing-key = /path/of/the/public.key"
	check_source_answers "$1"
}

# An image of a disk has its own partitions and settings. A file from elsewhere must be verified.
check_source_answers() {
	if [ "$answer_source" = live ]; then
		[ "$users" -gt 0 ] || [ -n "$answer_root_password$answer_root_ssh_key" ] ||
			answer_error "$1" "no way to log in: the password of root is locked" "write root-password, root-ssh-key or user"
		return
	fi
	[ -n "$answer_source_type" ] || answer_source_type=$(type_of_name "$answer_source")
	[ -n "$answer_source_type" ] || answer_error "$1" "source: the type of $answer_source is unknown" \
		"write: source-type = tarball, image or squashfs"
	if [ "$answer_source_type" = image ]; then
		settings=$answer_hostname$answer_locale$answer_keymap$answer_timezone$answer_address
		[ "$users" = 0 ] && [ -z "$settings$answer_root_password$answer_root_ssh_key" ] ||
			answer_error "$1" "a disk image has its own settings" \
				"remove hostname, locale, keymap, timezone, address, root-password, root-ssh-key and user"
	fi
	[ "$answer_verify" = none ] || [ -n "$answer_checksum$answer_digests$answer_signature" ] ||
		answer_error "$1" "source: nothing verifies $answer_source" \
			"write checksum = sha256:HEX, or digests or signature with signing-key, or verify = none"
}

type_of_name() {
	case ${1%%[?#]*} in
	*.tar | *.tar.gz | *.tgz | *.tar.xz | *.tar.bz2 | *.tar.zst) echo tarball ;;
	*.squashfs | *.sqfs | *.sfs | *.erofs) echo squashfs ;;
	*.img | *.raw | *.img.gz | *.img.xz | *.img.zst | *.raw.gz | *.raw.xz | *.raw.zst) echo image ;;
	esac
}

# End the program if there are errors.
stop_at_answer_errors() {
	[ -n "$answer_errors" ] || return 0
	: > "$explained"
	count=$(printf '%s' "$answer_errors" | grep -vc '^  hint: ')
	event error reason=ANSWERS message="$answer_errors" hint=""
	printf '%s' "$answer_errors" >&2
	printf 'stagewright-install: error: the answers have %s errors; nothing was written\n' "$count" >&2
	exit 2
}
