# shellcheck shell=sh
# The commands list and update.
#
# The order of an update makes it safe to stop at any moment: an entry in the menu of the boot loader exists only while its
# two partitions are whole. The partitions of the running version are never written to.

update_command() {
	read_settings
	find_running
	find_disk
	lock_disk
	read_table # another update may have changed it before the lock
	open_esp
	read_feed
	next=$(awk '{ print $1; exit }' "$versions")
	if is_update "$next"; then
		install_version "$next"
	else
		say "no newer version: ${next:-none} is the newest one of the feed, $running runs"
		event result state=current version="$running"
	fi
	[ "$reboot" = no ] || reboot_if_newer
}

# is_update VERSION: true if it is higher than the running version and all complete ones.
is_update() {
	[ -n "$1" ] && is_newer "$1" "$running" || return 1
	for installed in $(complete_versions); do
		if is_installed "$installed" && ! is_newer "$1" "$installed"; then
			[ "$installed" = "$running" ] || say "$installed is installed already"
			return 1
		fi
	done
}

install_version() {
	read -r next kernel kernel_digest data data_digest data_uuid tree tree_digest tree_uuid << END
$(awk -v version="$1" '$1 "" == version ""' "$versions")
END
	next_label=${set_name}_$next
	[ "${#next_label}" -le 36 ] || fail UNVERIFIED "$next_label: is longer than the label of a partition (36 characters)" \
		"publish a shorter version"
	case $data$tree in *.xz*) need_programs xz=xz-utils ;; *.gz*) need_programs gzip=gzip ;; esac
	find_target
	say "installing $next into partition ${target%% *} of $disk"
	event step name=install version="$next"
	remove_old_entries
	label_part "${target%% *}" _empty
	label_part "${hashes%% *}" _empty
	save_disk
	store_kernel "$kernel" "$kernel_digest"
	fill_part "$data" "$data_digest" "$target"
	fill_part "$tree" "$tree_digest" "$hashes"
	name_part "${target%% *}" "$data_uuid"
	name_part "${hashes%% *}" "$tree_uuid"
	label_part "${target%% *}" "$next_label"
	label_part "${hashes%% *}" "$next_label"
	save_disk
	esp_rename "$entries_folder/$next_label.part" "$entries_folder/$next_label+3-0.efi"
	say "installed $next: it starts at the next reboot"
	event result state=installed version="$next"
}

# store_kernel NAME DIGEST: write the kernel image with a name that the boot loader does not know.
store_kernel() {
	free=$(esp_free)
	at_end esp_discard "$entries_folder/$next_label.part"
	receive "$1" "$2" esp_store "$entries_folder/$next_label.part"
	if (check_received); then return; else code=$?; fi
	[ ! -e "$explained" ] || exit "$code"
	fail ESP_FULL "$disk: the kernel image cannot be written to the EFI system partition ($free KiB were free; $(last_words))" \
		"remove files that nothing starts from EFI/Linux, such as entries of other systems; the running version is unchanged"
}

# fill_part NAME DIGEST LINE: write a file of the feed to a partition.
fill_part() {
	# shellcheck disable=SC2086
	set -- "$1" "$2" $3
	receive "$1" "$2" write_part "$3" "$4" "$5"
	if (check_received); then return; else code=$?; fi
	[ ! -e "$explained" ] || exit "$code"
	[ ! -e "$work/too-long" ] || fail TOO_LARGE "$1: is larger than partition $3 of $disk ($5 bytes)" \
		"publish a smaller version, or make new disks with larger slots; the running version is unchanged"
	fail COMMAND_FAILED "$1: cannot be written to partition $3 of $disk ($(tail -n 3 "$work/write.output" | tr '\n' ' '))" \
		"look for faults of the disk (dmesg); the running version is unchanged"
}

# Restart into a newer version that is installed and did not fail.
reboot_if_newer() {
	[ -z "$image" ] || return 0
	read_table
	for installed in $(complete_versions); do
		is_newer "$installed" "$running" || continue
		for entry in $(entries_of "$installed"); do
			[ "$(tries_left "$entry")" != 0 ] || continue
			say "restarting into $installed"
			"$(path_of reboot)"
			return
		done
	done
}

list_command() {
	read_settings
	find_running
	find_disk
	open_esp
	: > "$work/none"
	versions=$work/none
	[ "$offline" = yes ] || read_feed
	{
		for one in $(complete_versions) $(for entry in $(esp_list "$entries_folder"); do
			version_of "$(without_counter "${entry%.efi}")"
		done); do echo "$one"; done
		cut -d ' ' -f 1 "$versions"
	} | sort -u | newest_first > "$work/all"
	while read -r one; do list_version "$one"; done < "$work/all"
}

list_version() {
	entry=$(entries_of "$1" | sed -n 1p)
	left=$(tries_left "$entry")
	if [ "$1" = "$running" ]; then state=running
	elif ! is_installed "$1"; then
		state=incomplete
		! cut -d ' ' -f 1 "$versions" | grep -qxF "$1" || state=available
	elif [ -z "$left" ]; then state=installed
	elif [ "$left" = 0 ]; then state=failed
	else state=new; fi
	event version version="$1" state="$state" entry="$entry" left="$left"
	[ "$json" = yes ] || printf '%-18s %-12s %s\n' "$1" "$state" "$entry${left:+ ($left tries left)}"
}
