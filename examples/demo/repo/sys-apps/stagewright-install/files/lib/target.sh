# shellcheck shell=sh
# The target: the disk or image that is installed on, its state, its table and its partitions.
#
# target is the kernel name of a disk, or empty for an image; target_file is what is written to. The state is one
# sector of text at 512 KiB, between the table and the first partition. It survives each step, and a sector is written
# whole or not at all: line 1 "stagewright-install 1", then id, disk and step, each with its value.

state_sector=1024
steps="begun table encrypt format copy configure boot done"

# Note what the target is now. Each write compares it with what is there then.
note_target() {
	if [ -n "$image" ]; then
		target_file=$image
		target_bytes=$(stat -c %s "$image")
		target_name="image $image"
		sector_bytes=512
	else
		target_file=/dev/$target
		target_bytes=$(disk_bytes "$target")
		target_name="disk $target"
		sector_bytes=$(read_attribute "$target" queue/logical_block_size)
	fi
	target_noted=$(target_now)
}

target_now() {
	if [ -n "$image" ]; then stat -c '%d:%i %s' "$image" 2> /dev/null
	else disk_identity "$target"; fi
}

# End the program if the target is gone, or if another disk has its name.
target_is_there() {
	[ -n "${target_noted:-}" ] || return 0
	[ -n "$image" ] || [ -b "$target_file" ] || fail TARGET_GONE "$target_name: vanished" "attach it, then --resume"
	[ "$(target_now)" = "$target_noted" ] || fail TARGET_GONE "$target_name: vanished, or another disk has its name" \
		"attach it, then --resume"
}

# Two installations never write to one target.
lock_target() {
	lock=/run/stagewright-install.lock.$(printf '%s' "$target_file" | digest_of)
	exec 9> "$lock"
	flock -n 9 || fail REFUSED "$target_name: another installation is running" "wait for its end"
}

# The disk as its state describes it.
state_disk() {
	if [ -n "$image" ]; then echo "$target_bytes image"
	else echo "$target_bytes $(disk_serial "$target")"; fi
}

read_state() {
	state_id= state_step= state_of=
	text=$(dd if="$target_file" bs=512 skip="$state_sector" count=1 2> /dev/null | tr -d '\000')
	case $text in "stagewright-install 1
"*) ;; *) return 0 ;; esac
	state_id=$(printf '%s\n' "$text" | sed -n 's/^id //p')
	state_of=$(printf '%s\n' "$text" | sed -n 's/^disk //p')
	state_step=$(printf '%s\n' "$text" | sed -n 's/^step //p')
	in_list "$state_step" "$steps" && [ "$state_of" = "$(state_disk)" ] || state_id= state_step=
}

state_text() { printf 'stagewright-install 1\nid %s\ndisk %s\nstep %s\n' "$install_id" "$(state_disk)" "$1"; }

# write_state STEP: note that a step is whole.
write_state() {
	target_is_there
	sync
	state_text "$1" | dd of="$target_file" bs=512 seek="$state_sector" count=1 conv=notrunc,sync,fsync 2> "$work/output" ||
		explain_failure $? "the state of the installation"
	state_step=$1
}

# is_whole STEP: true if this step, or a later one, is whole.
is_whole() {
	passed=no
	for one in $steps; do
		[ "$one" != "$1" ] || passed=yes
		[ "$one" != "$state_step" ] || { [ "$passed" = yes ]; return; }
	done
	return 1
}

# zero OFFSET BYTES: write zeros to the target, both in whole sectors.
zero() {
	target_is_there
	run dd if=/dev/zero of="$target_file" bs=64k iflag=count_bytes oflag=seek_bytes seek="$1" count="$2" conv=notrunc,fsync
}

# Erase the table and the starts of old partitions, so that the old system no longer starts.
erase_table() {
	zero 0 524288
	zero 1048576 1048576
	zero $((target_bytes - 1048576)) 1048576
	reread_table
}

reread_table() {
	[ -z "$image" ] || return 0
	sync
	tries=0
	until blockdev --rereadpt "$target_file" 2> "$work/output"; do
		target_is_there
		tries=$((tries + 1))
		[ "$tries" -lt 50 ] || fail REFUSED "$target_name: the kernel says that it is in use" "end the use of the disk"
		sleep 0.2
	done
}

# Write the partition table.
make_table() {
	write_state begun
	erase_table
	target_is_there
	if has systemd-repart; then table_by_repart; else table_by_sfdisk; fi
	reread_table
	read_table
}

table_by_sfdisk() {
	each_part clear_start
	{
		printf 'label: gpt\nlabel-id: %s\nfirst-lba: %s\n' "$(uuid_of "$install_id table")" $((1048576 / sector_bytes))
		each_part table_line
	} > "$work/table"
	sfdisk_from_file() { sfdisk --quiet --no-reread --wipe never "$target_file" < "$work/table"; }
	run sfdisk_from_file
}

# Old content at the start of a partition would show it, with an old boot loader, in the new table.
clear_start() { zero "$(part_get "$1" start)" 1048576; }

table_line() {
	printf 'start=%s, size=%s, type=%s, uuid=%s, name="%s"\n' $(($(part_get "$1" start) / sector_bytes)) \
		$(($(part_get "$1" bytes) / sector_bytes)) "$(part_get "$1" type)" "$(part_uuid "$1")" "$(part_get "$1" label)"
}

# systemd-repart gets definitions of the table only; this program makes the file systems.
table_by_repart() {
	rm -rf "$work/repart.d"
	mkdir "$work/repart.d"
	index=1
	while [ "$index" -le "$parts" ]; do
		{
			printf '[Partition]\nType=%s\nUUID=%s\nLabel=%s\n' "$(part_get "$index" type)" "$(part_uuid "$index")" "$(part_get "$index" label)"
			printf 'SizeMinBytes=%s\nWeight=%s\n' "$(part_min "$index")" "$(part_get "$index" weight)"
			[ -z "$(part_get "$index" max)" ] || printf 'SizeMaxBytes=%s\n' "$(part_get "$index" max)"
		} > "$work/repart.d/$(printf %02d "$index").conf"
		index=$((index + 1))
	done
	run systemd-repart --definitions="$work/repart.d" --empty=force --discard=no --seed="$(uuid_of "$install_id table")" \
		--dry-run=no "$target_file"
}

part_uuid() {
	uuid=$(part_get "$1" uuid)
	echo "${uuid:-$(uuid_of "$install_id partition $1")}"
}

# Set part_N_start and part_N_bytes from the table on the target.
read_table() {
	index=1
	while [ "$index" -le "$parts" ]; do
		place=$(partition_places | awk -v number="$index" '$1 == number { print $2, $3 }')
		[ -n "$place" ] && [ "${place#* }" -ge "$(part_min "$index")" ] ||
			fail TABLE "$target_name: partition $index is not there after the table was written" "--undo, then begin again"
		eval "part_${index}_start=\${place% *} part_${index}_bytes=\${place#* }"
		index=$((index + 1))
	done
}

# partition_places: print "NUMBER START BYTES" for each partition in the table.
partition_places() {
	if [ -n "$image" ]; then
		{ sfdisk --dump "$image" 2> /dev/null || :; } |
			sed -nE 's/^.*[^0-9]([0-9]+) : start= *([0-9]+), size= *([0-9]+),.*/\1 \2 \3/p' |
			while read -r number start size; do echo "$number $((start * 512)) $((size * 512))"; done
		return
	fi
	for one in $(disk_partitions "$target"); do
		folder=$sysfs/block/$target/$one
		echo "$(cat "$folder/partition") $(($(cat "$folder/start") * 512)) $(($(cat "$folder/size") * 512))"
	done
}

# open_partition N: set part_N_device. Partitions of an image get a loop device each.
open_partition() {
	[ -z "$(part_get "$1" device)" ] || return 0
	target_is_there
	if [ -n "$image" ]; then
		device=$("$(path_of losetup)" --find --show --offset "$(part_get "$1" start)" --sizelimit "$(part_get "$1" bytes)" "$image" 2> "$work/output") ||
			explain_failure $? losetup
		at_end "$(path_of losetup)" --detach "$device"
	else
		device=$(partition_node "$1") || fail TABLE "$target_name: no device for partition $1" "--resume"
	fi
	eval "part_$1_device=\$device"
}

# The kernel makes the node a moment after it read the table.
partition_node() {
	tries=0
	while [ "$tries" -lt 100 ]; do
		for one in $(disk_partitions "$target"); do
			[ "$(cat "$sysfs/block/$target/$one/partition")" = "$1" ] && [ -b "/dev/$one" ] && { echo "/dev/$one"; return; }
		done
		tries=$((tries + 1))
		sleep 0.1
	done
	return 1
}

# Clear an interrupted installation: the signatures of its partitions, then its table and its state.
undo() {
	read_state
	[ -n "$state_id" ] || fail NOTHING "$target_name: no interrupted installation" "nothing was written"
	[ "$state_step" != "done" ] || fail NOTHING "$target_name: its installation is complete" "nothing was written"
	[ "$dry_run" = no ] || { say "would clear the interrupted installation on $target_name (after step $state_step)"; return; }
	partition_places > "$work/places"
	while read -r _ start size; do
		# 16 MiB have the keys of LUKS, and every signature at the start.
		[ "$size" -lt 16777216 ] || size=16777216
		zero "$start" "$size"
	done < "$work/places"
	zero $((target_bytes - 1048576)) 1048576
	zero 0 1048576
	reread_table
	say "cleared the interrupted installation on $target_name"
	event result state=undone
}
