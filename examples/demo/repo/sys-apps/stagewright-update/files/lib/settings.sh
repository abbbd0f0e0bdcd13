# shellcheck shell=sh
# Settings: lines "key = value", parsed and never run by a shell. Stagewright writes the file (docs/updates.md).
#
#   name       name of the system, as in labels of partitions and in names of files
#   url        address of the folder with the feed
#   slot       the partition that is replaced: root or usr
#   deadline   seconds from the start of the kernel until a new version must be good
#   keyring    OpenPGP public keys, in binary form, that may sign updates
#   automatic  yes: the command watch updates each night, and restarts into the new version

set_name= set_url= set_slot=root set_deadline=300 set_keyring=/etc/stagewright-update/keyring.gpg set_automatic=no

read_settings() {
	[ -r "$config" ] || fail SETTINGS "$config: not found" "write the settings, or name them by --config"
	while read -r key equals value; do
		case $key in '' | '#'*) continue ;; esac
		[ "$equals" = "=" ] || wrong_setting "$key" "is not a line \"key = value\""
		case $key in
		name | url | slot | deadline | keyring | automatic) eval "set_$key=\$value" ;;
		*) wrong_setting "$key" "is no setting" ;;
		esac
	done < "$config"
	case $set_name in '' | *[!A-Za-z0-9.-]*) wrong_setting name "has other characters than letters, digits, . and -" ;; esac
	case $set_slot in root | usr) ;; *) wrong_setting slot "is neither root nor usr" ;; esac
	case $set_deadline in '' | *[!0-9]*) wrong_setting deadline "is not a number of seconds" ;; esac
	case $set_automatic in yes | no) ;; *) wrong_setting automatic "is neither yes nor no" ;; esac
	case $set_url in http://?* | https://?* | file:///?*) ;; *) wrong_setting url "is not an address" ;; esac
	set_url=${set_url%/}/
}

wrong_setting() { fail SETTINGS "$config: $1: $2" "correct this line"; }

# Set running: the version that must stay as it is.
find_running() {
	[ -z "$running" ] || return 0
	[ -z "$image" ] || fail USAGE "--disk needs --running" "name the version that must stay as it is"
	for file in /etc/os-release /usr/lib/os-release; do
		[ -r "$file" ] || continue
		running=$(sed -n 's/^IMAGE_VERSION=//p' "$file" | tr -d "\"'")
		[ -z "$running" ] || return 0
	done
	fail SETTINGS "/etc/os-release: no IMAGE_VERSION" "name the running version by --running"
}
