# shellcheck shell=sh
# Questions on a terminal. Each has a default, and each answer is checked as in a file of answers.

# ask KEY QUESTION DEFAULT: set answer_KEY. An empty line takes the default; - means no value.
ask() {
	kind=$(answer_table | awk -v key="$1" '$1 == key { print $2 }')
	while :; do
		printf '%s [%s]: ' "$2" "$3" >&2
		IFS= read -r reply || fail STOPPED "the input ended" "nothing was written"
		reply=${reply:-$3}
		[ "$reply" != - ] || reply=
		problem=
		[ -z "$reply" ] || problem=$(value_problem "$kind" "$reply")
		[ -n "$problem" ] || break
		echo "  \"$reply\" $problem" >&2
	done
	variable_of "$1"
	eval "$variable=\$reply"
}

# ask_secret QUESTION: set reply, typed twice without echo; empty if the person wants none.
ask_secret() {
	while :; do
		hidden_line "$1"
		first=$reply
		[ -n "$first" ] || return 0
		hidden_line again
		[ "$reply" != "$first" ] || return 0
		echo "  the two differ" >&2
	done
}

# hidden_line QUESTION: read a line that the terminal does not show.
hidden_line() {
	stty -echo 2> /dev/null || :
	printf '%s: ' "$1" >&2
	IFS= read -r reply || { stty echo 2> /dev/null; fail STOPPED "the input ended" "nothing was written"; }
	stty echo 2> /dev/null || :
	echo >&2
}

# Print a hash of the password in reply.
hash_reply() {
	if has openssl; then printf '%s\n' "$reply" | openssl passwd -6 -stdin
	elif has mkpasswd; then printf '%s\n' "$reply" | mkpasswd -m sha512 -P 0
	else printf '%s\n' "$reply" | cryptpw -m sha512 -P 0; fi
}

guided() {
	say "This program installs a system on a disk of this computer. Nothing is written before you confirm it."
	say ""
	[ -n "$image" ] || choose_disk
	ask_layout
	if layout_has_passphrase; then
		ask_secret "Passphrase of the encryption"
		answer_passphrase=$reply
	fi
	ask source "Source (live, or a path or an address)" "${answer_source:-live}"
	if [ "$answer_source" != live ]; then
		answer_source_type=$(type_of_name "$answer_source")
		[ -n "$answer_source_type" ] || ask source-type "Type of the source (tarball, image or squashfs)" tarball
		ask checksum "Checksum (sha256:HEX or sha512:HEX; - for none)" "${answer_checksum:--}"
		[ -n "$answer_checksum" ] || answer_verify=none
	fi
	[ "$answer_source_type" = image ] || ask_settings
}

# A layout that cannot be read is asked for again.
ask_layout() {
	while :; do
		ask layout "Layout ($(cd "$data/layouts" && echo ./* | sed 's|\./||g'), or a folder)" "${answer_layout:-ext4}"
		if (read_layout "$answer_layout"); then break; fi
		answer_layout=
		rm -f "$explained"
	done
	read_layout "$answer_layout"
}

layout_has_passphrase() {
	index=1
	while [ "$index" -le "$parts" ]; do
		case $(part_get "$index" encrypt) in key-file*) return 0 ;; esac
		index=$((index + 1))
	done
	return 1
}

ask_settings() {
	ask hostname "Host name" "${answer_hostname:-$(hostname 2> /dev/null | grep -Ex '[a-z0-9-]+' || echo stagewright)}"
	ask timezone "Time zone" "${answer_timezone:-UTC}"
	ask keymap "Keyboard layout (- for none)" "${answer_keymap:--}"
	ask locale "Locale (- for none)" "${answer_locale:--}"
	ask network "Network (keep what the system has, dhcp or none)" "${answer_network:-keep}"
	ask_secret "Password of root (empty for none)"
	[ -z "$reply" ] || answer_root_password=$(hash_reply)
	ask root-ssh-key "SSH key of root (- for none)" -
	ask user "Name of a user (- for none)" -
	if [ -n "${answer_user:-}" ]; then
		set_answer "user" user "$answer_user"
		ask_secret "Password of $answer_user"
		[ -z "$reply" ] || user_1_password=$(hash_reply)
	fi
	ask finish "Then (exit, reboot or poweroff)" "${answer_finish:-exit}"
}

# Show the disks, and set target to the one that is chosen by its kernel name.
choose_disk() {
	say "Disks of this computer:"
	list_disks
	say ""
	default=
	for one in $(disk_names); do
		[ -n "$default" ] || [ -n "$(disk_refusals "$one" 0)" ] || default=$one
	done
	[ -n "$default" ] || fail REFUSED "no disk can be used" "the list above has the reasons"
	while :; do
		printf 'Disk [%s]: ' "$default" >&2
		IFS= read -r reply || fail STOPPED "the input ended" "nothing was written"
		target=${reply:-$default}
		target=${target#/dev/}
		in_list "$target" "$(disk_names | tr '\n' ' ')" || { echo "  there is no disk $target" >&2; continue; }
		refusals=$(disk_refusals "$target" 0)
		[ -n "$refusals" ] || return 0
		printf '  %s cannot be used: %s\n' "$target" "$refusals" >&2
	done
}

# The person types the name of the disk after reading what will be lost.
confirm() {
	word=${target:-$(basename "$image")}
	say ""
	printf 'Type "%s" to erase it and to begin: ' "$word" >&2
	IFS= read -r reply || reply=
	[ "$reply" = "$word" ] || fail STOPPED "not confirmed" "nothing was written"
}

# What to do with an interrupted installation on the chosen target.
ask_interrupted() {
	printf 'An installation on %s was interrupted after the step "%s".\n' "$target_name" "$state_step" >&2
	while :; do
		printf 'resume, restart, undo or quit [%s]: ' "$1" >&2
		IFS= read -r reply || reply=quit
		case ${reply:-$1} in
		resume) [ "$1" = resume ] && { resume=yes; return; }
			echo "  the answers differ from those of the interrupted installation" >&2 ;;
		restart) state_step=; return ;;
		undo) undo; exit 0 ;;
		quit) fail STOPPED "stopped" "nothing was written" ;;
		esac
	done
}
