# shellcheck shell=sh
# The EFI system partition and its boot entries. It is mounted where no other program sees it. mtools
# reads and writes those of images, and of systems without vfat.
#
# Names of entries: NAME_VERSION.efi, NAME_VERSION+LEFT.efi or NAME_VERSION+LEFT-DONE.efi (Boot Loader Specification).

entries_folder=EFI/Linux

open_esp() {
	line=$(parts_of esp | sed -n 1p)
	[ -n "$line" ] || fail NO_SLOT "$disk: no EFI system partition" "make the disk with a layout of two slots"
	if [ -n "$image" ]; then
		esp_by_mtools "$image@@$(echo "$line" | cut -d ' ' -f 2)"
		return
	fi
	device=$devices/$(node_of "${line%% *}")
	for module in vfat nls_cp437 nls_iso8859-1 nls_ascii nls_utf8; do modprobe "$module" 2> /dev/null || :; done
	if ! grep -qw vfat /proc/filesystems; then
		esp_by_mtools "$device"
		return
	fi
	esp_drive=
	esp=$work/esp
	mkdir -p "$esp"
	run mount -t vfat -o umask=0077 "$device" "$esp"
	at_end umount "$esp"
}

esp_by_mtools() {
	need_programs mcopy=mtools
	export MTOOLS_SKIP_CHECK=1
	esp_drive=$1
}

esp_list() {
	if [ -n "$esp_drive" ]; then
		mdir -b -i "$esp_drive" "::$1" 2> /dev/null | sed 's|.*/||'
	else
		ls "$esp/$1" 2> /dev/null || :
	fi
}

esp_remove() {
	if [ -n "$esp_drive" ]; then run mdel -i "$esp_drive" "::$1"; else run rm -f "$esp/$1"; fi
	save_disk
}

# esp_discard PATH: remove what is left of a file that could not be written. It may not be there.
esp_discard() {
	if [ -n "$esp_drive" ]; then mdel -i "$esp_drive" "::$1"; else rm -f "$esp/$1"; fi > /dev/null 2>&1 || :
}

esp_rename() {
	if [ -n "$esp_drive" ]; then run mren -i "$esp_drive" "::$1" "::$2"; else run mv -f "$esp/$1" "$esp/$2"; fi
	save_disk
}

# esp_store PATH: write stdin to a file.
esp_store() {
	if [ -n "$esp_drive" ]; then mcopy -o -i "$esp_drive" - "::$1"; else dd of="$esp/$1" bs=1048576 conv=fsync; fi
}

# Print the free KiB.
esp_free() {
	if [ -n "$esp_drive" ]; then mdir -i "$esp_drive" :: | awk '/bytes free/ { gsub(/[^0-9]/, ""); print int($0 / 1024) }'
	else df -Pk "$esp" | awk 'NR == 2 { print $4 }'; fi
}

# What was written before is on the disk before anything else is written.
save_disk() {
	if [ -n "$image" ]; then sync "$image" 2> /dev/null || sync; else sync; fi
}

# entries_of VERSION: print the names of its entries.
entries_of() {
	for entry in $(esp_list "$entries_folder"); do
		[ "$(without_counter "${entry%.efi}")" != "${set_name}_$1" ] || [ "${entry%.efi}" = "$entry" ] || echo "$entry"
	done
}

without_counter() { printf '%s\n' "$1" | sed -e 's/+[0-9][0-9]*$//' -e 's/+[0-9][0-9]*-[0-9][0-9]*$//'; }

# tries_left ENTRY: print the number of starts that are left; nothing for a version that is good.
tries_left() { printf '%s\n' "${1%.efi}" | sed -n 's/.*+\([0-9][0-9]*\)\(-[0-9]*\)\{0,1\}$/\1/p'; }

# is_installed VERSION: true if it has both partitions and an entry, also if it failed to start.
is_installed() { complete_versions | grep -qxF "$1" && [ -n "$(entries_of "$1")" ]; }

# Remove what interrupted updates left, and the entries of all versions that are in no slot or in the target.
remove_old_entries() {
	for entry in $(esp_list "$entries_folder"); do
		case $entry in
		"${set_name}_"*.part) esp_remove "$entries_folder/$entry"; continue ;;
		"${set_name}_"*.efi) ;;
		*) continue ;;
		esac
		version=$(version_of "$(without_counter "${entry%.efi}")")
		[ -n "$version" ] && [ "$version" != "$running" ] || continue
		[ "${set_name}_$version" = "${target##* }" ] || ! complete_versions | grep -qxF "$version" || continue
		esp_remove "$entries_folder/$entry"
	done
}
