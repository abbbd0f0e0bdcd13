# shellcheck shell=sh
# Counted boots: the commands bless and watch. systemd-boot counts the starts of a new version by the name of its entry, and
# says by a variable of the firmware which entry that is (docs of systemd: AUTOMATIC_BOOT_ASSESSMENT).

counter=LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f

# Print the path of the counted entry in the EFI system partition; nothing if the boot is not counted.
counted_entry() {
	if [ "$efivars" = /sys/firmware/efi/efivars ] && [ -d "$efivars" ] && ! grep -q " $efivars efivarfs " /proc/self/mounts; then
		modprobe efivarfs 2> /dev/null || :
		mount -t efivarfs efivarfs "$efivars" 2> /dev/null || :
	fi
	[ -r "$efivars/$counter" ] || return 0
	# Four bytes of attributes, which are control characters, then text in UTF-16. tail(1) of GNU cannot skip them: files of
	# efivarfs refuse to seek.
	LC_ALL=C tr -d '\000-\037' < "$efivars/$counter" | sed -e 's|\\|/|g' -e 's|^/*||'
}

good_file() { echo "$run_folder/stagewright-update.good"; }

bless_command() {
	read_settings
	entry=$(counted_entry)
	if [ -z "$entry" ]; then
		say "this boot is not counted: the version is good already"
		event result state=not-counted
		return
	fi
	case " $(cat /proc/cmdline 2> /dev/null) " in *" stagewright.update.bless=no "*)
		fail CHECK "the kernel argument stagewright.update.bless=no is set: this version is never good" "it is for tests" ;;
	esac
	for check in "${checks%/}"/*; do
		[ -x "$check" ] || continue
		"$check" || fail CHECK "$check: exit code $?: this version is not good" "the machine restarts after its deadline"
	done
	find_running
	find_disk
	open_esp
	folder=${entry%/*}
	base=${entry##*/}
	end=${base##*.}
	good=$(without_counter "${base%.*}").$end
	if esp_list "$folder" | grep -qxF "$base"; then
		esp_rename "$entry" "$folder/$good"
	elif ! esp_list "$folder" | grep -qxF "$good"; then
		fail NO_ENTRY "$disk: $entry not found" "look into the EFI system partition"
	fi
	: > "$(good_file)"
	say "$good is marked as good"
	event result state=good entry="$good"
}

watch_command() {
	read_settings
	entry=$(counted_entry)
	[ -z "$entry" ] || watch_deadline
	[ "$set_automatic" = no ] || update_each_night
}

# Restart the machine if the version is not good in time. The start was counted, so it is a failed one.
watch_deadline() {
	while [ ! -e "$(good_file)" ]; do
		left=$((set_deadline - $(cut -d . -f 1 "$uptime_file")))
		if [ "$left" -le 0 ]; then
			warn "$entry is not marked as good after $set_deadline seconds: restarting"
			# At once: services and file systems of the failed version must not delay this.
			"$(path_of reboot)" -f -n || "$(path_of reboot)" -f
			return
		fi
		[ "$left" -le 5 ] || left=5
		sleep "$left"
	done
}

update_each_night() {
	while :; do
		sleep "$(date '+%H %M %S' | seconds_to_night "$(od -An -N2 -tu2 /dev/urandom)")"
		"$program" --config "$config" --reboot update || warn "the next try is tomorrow"
	done
}

# seconds_to_night RANDOM: print the seconds from "HOUR MINUTE SECOND" on stdin until 4:10 and up to half an hour more, so
# that not all machines ask the server at once.
seconds_to_night() {
	awk -v random="$1" '{
		left = (4 * 3600 + 600 - ($1 * 3600 + $2 * 60 + $3) + 86400) % 86400
		print (left ? left : 86400) + random % 1800
	}'
}
