# shellcheck shell=sh
# Encryption and file systems on the partitions of the target.

each_part() { # each_part FUNCTION: call it with each number
	each=1
	while [ "$each" -le "$parts" ]; do
		"$1" "$each"
		each=$((each + 1))
	done
}

# The passphrase, on stdout. Without one, a key that only the TPM keeps later.
key_text() {
	if [ -n "$answer_passphrase" ]; then printf '%s' "$answer_passphrase"
	elif [ -n "$answer_passphrase_file" ]; then cat "$answer_passphrase_file"
	else cat "$work/key"; fi
}

luks_uuid() { uuid_of "$install_id luks $1"; }

encrypt_partition() {
	[ -n "$(part_get "$1" encrypt)" ] || return 0
	open_partition "$1"
	device=$(part_get "$1" device)
	[ -n "$answer_passphrase$answer_passphrase_file" ] || head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$work/key"
	luks_format() {
		key_text | cryptsetup luksFormat --batch-mode --type luks2 --uuid "$(luks_uuid "$1")" --key-file - "$device"
	}
	run luks_format "$1"
	case $(part_get "$1" encrypt) in *tpm2*)
		PASSWORD=$(key_text) run systemd-cryptenroll --tpm2-device=auto "$device"
		unlock_partition "$1"
		[ -n "$answer_passphrase$answer_passphrase_file" ] || run systemd-cryptenroll --wipe-slot=password "$device" ;;
	esac
}

# unlock_partition N: set part_N_device to the decrypted device.
unlock_partition() {
	[ -n "$(part_get "$1" encrypt)" ] || return 0
	case $(part_get "$1" device) in /dev/mapper/*) return 0 ;; esac
	open_partition "$1"
	mapping=stagewright-install-$1
	device=$(part_get "$1" device)
	if [ -n "$answer_passphrase$answer_passphrase_file" ] || [ -e "$work/key" ]; then
		luks_open() { key_text | cryptsetup open --type luks2 --key-file - "$device" "$mapping"; }
		run luks_open
	else
		run systemd-cryptsetup attach "$mapping" "$device" none tpm2-device=auto,headless=true
	fi
	at_end cryptsetup close "$mapping"
	eval "part_$1_device=/dev/mapper/\$mapping"
}

fs_uuid() {
	case $(part_get "$1" format) in
	vfat) uuid_of "$install_id file system $1" | sed -E 's/^(....)(....).*/\1-\2/' | tr a-f A-F ;;
	*) uuid_of "$install_id file system $1" ;;
	esac
}

format_partition() {
	open_partition "$1"
	unlock_partition "$1"
	device=$(part_get "$1" device)
	label=$(part_get "$1" label)
	uuid=$(fs_uuid "$1")
	case $(part_get "$1" format) in
	vfat) run mkfs.vfat -F 32 -i "$(echo "$uuid" | tr -d -)" -n "$(echo "$label" | tr a-z A-Z | cut -c 1-11)" "$device" ;;
	ext4) run mkfs.ext4 -q -F -U "$uuid" -L "$(echo "$label" | cut -c 1-16)" "$device" ;;
	xfs) run mkfs.xfs -q -f -m "uuid=$uuid" -L "$(echo "$label" | cut -c 1-12)" "$device" ;;
	btrfs) run mkfs.btrfs -q -f -U "$uuid" -L "$label" "$device" ;;
	swap) run mkswap -U "$uuid" -L "$label" "$device" ;;
	esac
}

# The partitions with a place in the tree, parents before children; not the EFI system partition.
mount_order() {
	index=1
	while [ "$index" -le "$parts" ]; do
		[ -z "$(part_get "$index" mount)" ] || [ "$index" = "$esp_part" ] || echo "$(part_get "$index" mount) $index"
		index=$((index + 1))
	done | sort
}

mount_target() {
	root=$work/target
	mkdir -p "$root"
	mount_order > "$work/order"
	while read -r place index; do
		open_partition "$index"
		unlock_partition "$index"
		target_is_there
		[ "$place" = / ] || mkdir -p "$root$place"
		run mount -t "$(part_get "$index" format)" "$(part_get "$index" device)" "$root${place%/}"
		at_end unmount "$root${place%/}"
		[ -z "$(part_get "$index" subvolumes)" ] || make_subvolumes "$index" "$root${place%/}"
	done < "$work/order"
}

make_subvolumes() {
	for subvolume in $(part_get "$1" subvolumes); do
		[ -e "$2$subvolume" ] || { mkdir -p "$2${subvolume%/*}"; run btrfs subvolume create "$2$subvolume"; }
	done
}

# The EFI system partition is mounted, or written by mtools where the kernel has no vfat.
open_esp() {
	open_partition "$esp_part"
	esp_device=$(part_get "$esp_part" device)
	esp=$work/esp
	mkdir -p "$esp"
	grep -qw vfat /proc/filesystems || modprobe vfat 2> /dev/null || :
	if grep -qw vfat /proc/filesystems; then
		run mount -t vfat -o umask=0077 "$esp_device" "$esp"
		at_end unmount "$esp"
		esp_by=mount
	else
		has mcopy || fail MISSING "the kernel has no vfat, and mtools is not installed" "load vfat, or install mtools"
		esp_by=mtools
	fi
}

esp_folder() {
	if [ "$esp_by" = mount ]; then run mkdir -p "$esp/$1"; return; fi
	made=
	for piece in $(echo "$1" | tr / ' '); do
		made=$made/$piece
		mdir -i "$esp_device" "::$made" > /dev/null 2>&1 || run mmd -i "$esp_device" "::$made"
	done
}

# esp_put FILE PATH: write a file whole or not at all.
esp_put() {
	target_is_there
	case $2 in */*) esp_folder "${2%/*}" ;; esac
	if [ "$esp_by" = mtools ]; then run mcopy -o -i "$esp_device" "$1" "::/$2"; return; fi
	run cp "$1" "$esp/$2.new"
	sync
	run mv -f "$esp/$2.new" "$esp/$2"
	sync
}

esp_has() {
	if [ "$esp_by" = mount ]; then [ -e "$esp/$1" ]; else mdir -i "$esp_device" "::/$1" > /dev/null 2>&1; fi
}
