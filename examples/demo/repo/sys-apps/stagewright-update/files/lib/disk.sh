# shellcheck shell=sh
# The disk, its partition table, and the slots.
#
# image is a file that --disk names; otherwise the disk is that of the running root. parts has a line for each partition:
# NUMBER START-BYTE BYTES TYPE UUID LABEL, with "-" for an empty label.

# The types of a slot's partitions on all architectures (Discoverable Partitions Specification).
slot_types() {
	case $1 in
	root) echo 4f68bce3-e8cd-4db1-96e7-fbcaf984b709 44479540-f297-41b2-9af7-d131d5f0458a b921b045-1df0-41c3-af44-4c6f280d3fae \
		69dad710-2ce4-4e3c-b16c-21a1d49abed3 72ec70a6-cf74-40e6-bd49-4bda08e8f224 77055800-792c-4f94-b39a-98c91b762bb6 \
		c31c45e6-3f39-412e-80fb-4809c4980599 5eead9a9-fe09-4a1e-a1d7-520d00531306 ;;
	root-verity) echo 2c7357ed-ebd2-46d9-aec1-23d437ec2bf5 d13c5d3b-b5d1-422a-b29f-9454fdc89d76 \
		df3300ce-d69f-4c92-978c-9bfb0f38d820 7386cdf2-203c-47a9-a498-f2ecce45a2d6 b6ed5582-440b-4209-b8da-5ff7c419ea3d \
		f3393b22-e9af-4613-a948-9d3bfbd0c535 906bd944-4589-4aae-a4e4-dd983917446a b325bfbe-c7be-4ab8-8357-139e652d2f6b ;;
	usr) echo 8484680c-9521-48c6-9c11-b0720656f69e 75250d76-8cc6-458e-bd66-bd47cc81a812 b0e01050-ee5f-4390-949a-9101b17104e9 \
		7d0359a3-02b3-4f0a-865c-654403e70625 beaec34b-8442-439b-a40b-984381ed097d e611c702-575c-4cbe-9a46-434fa0bf7e3f \
		15bb03af-77e7-4d4a-b12b-c0d084f7491c 8a4f5770-50aa-4ed3-874a-99b710db6fea ;;
	usr-verity) echo 77ff5f63-e7b6-4633-acf4-1565b864c0e6 8f461b0d-14ee-4e81-9aa9-049b6fb97abd \
		6e11a4e7-fbca-4ded-b9e9-e1a512bb664e c215d751-7bcd-4649-be90-6627490a4c05 8f1056be-9b05-47c4-81d6-be53128e5b54 \
		f46b2c26-59ae-48f0-9106-c50ed47f673d ee2b9983-21e8-4153-86d9-b6901a54d1ce 31741cc4-1a2a-4111-a581-e00b447d2d06 ;;
	esp) echo c12a7328-f81f-11d2-ba4b-00a0c93ec93b ;;
	esac
}

# Set disk, disk_name (only of a machine) and kept: the numbers of the partitions that the running version uses.
find_disk() {
	need_programs sfdisk=util-linux awk=gawk
	kept=
	if [ -n "$image" ]; then
		[ -f "$image" ] || fail USAGE "--disk $image: is not a file" "name an image of a disk"
		disk=$image
		read_table
		kept=$(awk -v label="${set_name}_$running" '$6 == label { print $1 }' "$parts" | tr '\n' ' ')
		[ -n "$kept" ] || fail NO_SLOT "$disk: no partition is called ${set_name}_$running" "correct --running"
		return
	fi
	place=/
	[ "$set_slot" = root ] || place=/usr
	number=$(awk -v place="$place" '$5 == place { found = $3 } END { print found }' "$mounts")
	found=$(partitions_below "$(readlink -f "$sysfs/dev/block/$number")")
	[ -n "$found" ] || fail NO_SLOT "$place is not on a partition of a disk" "updates need a disk with two slots"
	for one in $found; do
		folder=$(readlink -f "$sysfs/class/block/$one")
		disk_name=${folder%/*}
		disk_name=${disk_name##*/}
		kept="$kept$(cat "$folder/partition") "
	done
	disk=$devices/$disk_name
	read_table
}

# partitions_below FOLDER: print the names of the partitions that a device of sysfs is made of, such as that of dm-verity.
partitions_below() (
	below=
	for folder in "$1"/slaves/*; do
		[ -e "$folder" ] || continue
		below=yes
		partitions_below "$(readlink -f "$folder")"
	done
	[ -n "$below" ] || [ ! -e "$1/partition" ] || echo "${1##*/}"
)

read_table() {
	parts=$work/parts
	sfdisk --dump "$disk" > "$work/dump" 2> "$work/output" || fail NO_SLOT "$disk: no partition table ($(last_words))" \
		"updates need a disk with two slots"
	sector=512
	[ -n "$image" ] || sector=$(cat "$sysfs/class/block/$disk_name/queue/logical_block_size")
	# shellcheck disable=SC2016
	awk -v sector="$sector" '
		function value(key,   text) {
			if (!match(line, key "= *\"?[^\",]*")) return ""
			text = substr(line, RSTART, RLENGTH)
			sub(/^[^=]*= *"?/, "", text)
			return text
		}
		{ at = index($0, " : start=") }
		at {
			number = substr($0, 1, at - 1); sub(/.*[^0-9]/, "", number)
			line = substr($0, at + 3); label = value("name"); gsub(/ /, "_", label)
			printf "%d %.0f %.0f %s %s %s\n", number, value("start") * sector, value("size") * sector,
				tolower(value("type")), tolower(value("uuid")), label == "" ? "-" : label
		}' "$work/dump" > "$parts"
}

# parts_of ROLE: print the lines of the partitions of a role: esp, root, root-verity, usr or usr-verity.
parts_of() { awk -v types=" $(slot_types "$1") " 'index(types, " " $4 " ")' "$parts"; }

is_kept() { case " $kept" in *" $1 "*) return 0 ;; esac; return 1; }

# version_of LABEL: print the version in the label of a partition of this system.
version_of() {
	case $1 in "${set_name}_"?*) version=${1#"${set_name}_"} ;; *) return 0 ;; esac
	case $version in *[!A-Za-z0-9.~^-]*) ;; *) echo "$version" ;; esac
}

# complete_versions: print the versions that have both partitions.
complete_versions() {
	for label in $(parts_of "$set_slot" | cut -d ' ' -f 6); do
		[ -z "$(version_of "$label")" ] || parts_of "$set_slot-verity" | cut -d ' ' -f 6 | grep -qxF "$label" || continue
		version_of "$label"
	done
}

# Set target and hashes to the lines of the partitions to replace: an empty slot, or the one with the lowest version.
find_target() {
	target= hashes=
	for wanted in _empty $(parts_of "$set_slot" | cut -d ' ' -f 6 | sed -n "s/^${set_name}_//p" | newest_first | tac_lines); do
		[ "$wanted" = _empty ] || wanted=${set_name}_$wanted
		[ -n "$target" ] || target=$(free_part "$set_slot" "$wanted")
	done
	[ -n "$target" ] || no_slot "$set_slot"
	hashes=$(free_part "$set_slot-verity" "${target##* }")
	[ -n "$hashes" ] || hashes=$(free_part "$set_slot-verity" _empty)
	[ -n "$hashes" ] || hashes=$(orphaned_hashes)
	[ -n "$hashes" ] || no_slot "$set_slot-verity"
	for one in "$target" "$hashes"; do ensure_unused "${one%% *}"; done
}

tac_lines() { awk '{ line[NR] = $0 } END { for (i = NR; i; i--) print line[i] }'; }

# free_part ROLE LABEL: print the first line of a partition that the running version does not use.
free_part() {
	parts_of "$1" | while read -r number rest; do
		is_kept "$number" || [ "${rest##* }" != "$2" ] || { echo "$number $rest"; break; }
	done
}

# Print a partition of hashes whose data are gone, after an interrupted update.
orphaned_hashes() {
	for label in $(parts_of "$set_slot-verity" | cut -d ' ' -f 6); do
		[ -z "$(version_of "$label")" ] || parts_of "$set_slot" | cut -d ' ' -f 6 | grep -qxF "$label" ||
			free_part "$set_slot-verity" "$label"
	done | sed -n 1p
}

no_slot() {
	fail NO_SLOT "$disk: no second slot (no other partition of type $1 is called _empty or ${set_name}_VERSION)" \
		"make the disk with a layout of two slots, such as layout = \"ab\""
}

# node_of NUMBER: print the name of a partition in /dev.
node_of() {
	for folder in "$sysfs/class/block/$disk_name/$disk_name"*; do
		[ "$(cat "$folder/partition" 2> /dev/null)" != "$1" ] || { echo "${folder##*/}"; return; }
	done
	fail NO_SLOT "$disk: no device of partition $1" "restart the machine"
}

# The partition must not be mounted, nor be a part of another device.
ensure_unused() {
	[ -z "$image" ] || return 0
	node=$(node_of "$1")
	holders=$(ls "$sysfs/class/block/$node/holders")
	awk -v number="$(cat "$sysfs/class/block/$node/dev")" '$3 == number { found = 1 } END { exit !found }' \
		"$mounts" && holders="a mount $holders"
	[ -z "$holders" ] || fail IN_USE "/dev/$node: is in use by $holders" "end this use, or restart the machine"
}

# label_part NUMBER LABEL and name_part NUMBER UUID: change the table. The kernel reads it at the next start.
label_part() { run sfdisk --no-reread --no-tell-kernel --part-label "$disk" "$1" "$2"; }
name_part() { run sfdisk --no-reread --no-tell-kernel --part-uuid "$disk" "$1" "$2"; }

# write_part NUMBER START BYTES: write stdin to a partition, at most its size.
write_part() {
	if [ -n "$image" ]; then set -- "$image" "$2" "$3"; else set -- "$devices/$(node_of "$1")" 0 "$3"; fi
	dd of="$1" bs=1048576 iflag=fullblock,count_bytes count="$3" oflag=seek_bytes seek="$2" conv=notrunc,fsync
}

# Two updates never write to one disk. Programs that a killed update left behind keep the lock until they end.
lock_disk() {
	need_programs flock=util-linux
	exec 9> "$run_folder/stagewright-update.$(printf '%s' "$disk" | cksum | cut -d ' ' -f 1).lock"
	flock -n 9 || fail BUSY "$disk: another update is running" "wait for its end"
}
