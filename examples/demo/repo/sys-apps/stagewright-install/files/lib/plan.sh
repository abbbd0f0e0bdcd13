# shellcheck shell=sh
# The commands: what is known before the first write, the steps, and the end.

# Read all answers: of the file, of --set, or of a person.
get_answers() {
	answers_name=answers
	if [ -n "$answers" ]; then
		answers_name=$answers
		read_answers_from "$answers"
	fi
	printf '%s' "$sets" > "$work/sets"
	[ ! -s "$work/sets" ] || read_answers "$work/sets" --set
	if [ -z "$answers" ] && [ "$mode" = install ] && [ -z "$sets" ]; then
		[ -t 0 ] || [ "${STAGEWRIGHT_INSTALL_ASK:-}" = stdin ] ||
			fail USAGE "stdin is not a terminal" "give the answers: --answers FILE"
		default_answers
		guided
		person=yes
	else
		default_answers
		person=no
		[ "$mode" = undo ] && [ -n "$image" ] || check_answers "$answers_name"
	fi
	stop_at_answer_errors
}

read_answers_from() {
	case $1 in
	http://* | https://*) wait_for_address "$1" ;;
	LABEL=*:/*) copy_from_label "$1" ;;
	*) [ -r "$1" ] || fail ANSWERS "$1: not found"
		cp "$1" "$work/answers" ;;
	esac
	chmod 600 "$work/answers"
	read_answers "$work/answers" "$1"
}

# The network of a machine that just started may need a while.
wait_for_address() {
	tries=0
	until (fetch "$1" "$work/answers") > /dev/null 2>&1; do
		tries=$((tries + 1))
		[ "$unattended" = yes ] && [ "$tries" -lt 60 ] || fail ANSWERS "$1: cannot be read ($(tail -n 1 "$work/output"))" \
			"look at the network and at the address"
		rm -f "$work/answers" "$explained"
		sleep 2
	done
}

# LABEL=NAME:/path: a file on a file system with this label.
copy_from_label() {
	label=${1#LABEL=}
	label=${label%%:/*}
	for device in "$sysfs"/class/block/*; do
		device=/dev/${device##*/}
		[ -b "$device" ] && [ "$(label_of "$device")" = "$label" ] || continue
		mkdir -p "$work/label"
		mount -o ro "$device" "$work/label" 2>> "$log" || continue
		cp "$work/label/${1#*:/}" "$work/answers" 2>> "$log" || { unmount "$work/label"; fail ANSWERS "$1: ${1#*:} not found there"; }
		unmount "$work/label"
		return
	done
	fail ANSWERS "$1: not found: a file system with the label $label"
}

label_of() {
	if [ "$probe_by_blkid" = yes ]; then blkid -p -s LABEL -o value "$1" 2> /dev/null || :
	else blkid "$1" 2> /dev/null | sed -n 's/.* LABEL="\([^"]*\)".*/\1/p'; fi
}

# Set the target, or end the program if it is not exactly the one that was named.
get_target() {
	if [ -n "$image" ]; then
		case $image in /*) ;; *) image=$PWD/$image ;; esac
		make_image
	elif [ -z "$target" ]; then
		find_disk "$answer_disk" "$answer_size"
	fi
	[ -n "$image" ] || refuse_used_disk "$target" "$1"
	note_target
	lock_target
	[ "$target_bytes" -ge "$1" ] || fail REFUSED "$target_name: too small: $(human "$target_bytes"), at least $(human "$1") are needed" \
		"use a larger size, or a layout with smaller partitions"
}

# Make the file of --image if it is missing. Content is lost only with overwrite = yes.
make_image() {
	[ ! -e "$image" ] || [ -f "$image" ] || fail REFUSED "image $image: is not a file" "use the key disk for disks"
	[ -e "$image" ] || {
		[ -n "$image_size" ] || fail USAGE "image $image: not found" "add --size, such as --size 8G"
		bytes_of "$image_size" > /dev/null || fail USAGE "--size: $image_size is not a size" "such as --size 8G"
		[ "$dry_run" = no ] || fail USAGE "image $image: not found" "make it before --dry-run: truncate --size $image_size $image"
		truncate -s "$(bytes_of "$image_size")" "$image" || fail TARGET_FULL "image $image: cannot be made"
	}
	for loop in "$sysfs"/block/loop*/loop/backing_file; do
		[ ! -r "$loop" ] || [ "$(cat "$loop")" != "$image" ] || fail REFUSED "image $image: is in use by a loop device" "losetup -d"
	done
}

# Programs that the plan needs; all missing ones are named together.
check_programs() {
	missing=
	need_program flock
	if [ "$answer_source_type" != image ]; then
		has systemd-repart || need_program sfdisk
		each_part need_for_part
		[ -z "$image" ] || need_program losetup
		[ -z "$image" ] || need_program sfdisk
	fi
	[ -n "$image" ] || need_program blockdev
	case ${answer_source%%[?#]*} in *.xz) need_program xz ;; *.zst) need_program zstd ;; *.bz2) need_program bzip2 ;; esac
	[ -z "$missing" ] || fail MISSING "programs are missing:$missing" "install them, or use another layout or source"
}

need_program() { has "$1" || in_list "$1" "$missing" || missing="$missing $1"; }

need_for_part() {
	case $(part_get "$1" format) in
	swap) need_program mkswap ;;
	?*) need_program "mkfs.$(part_get "$1" format)" ;;
	esac
	case $(part_get "$1" encrypt) in
	'') return ;;
	*tpm2*)
		need_program systemd-cryptenroll
		[ -e /dev/tpmrm0 ] || fail MISSING "layout $answer_layout: this computer has no TPM 2.0 (/dev/tpmrm0)" "use layout = luks" ;;
	esac
	need_program cryptsetup
	# A device node says nothing: udev and kmod make it before the driver is there.
	grep -q ' device-mapper$' /proc/misc || modprobe dm-mod 2> /dev/null || :
	grep -q ' device-mapper$' /proc/misc || fail MISSING "layout $answer_layout: the kernel has no device-mapper, which LUKS needs" \
		"install without encryption, or from a system that has device-mapper"
	case $(part_get "$1" encrypt) in key-file*) [ -n "$answer_passphrase$answer_passphrase_file" ] ||
		fail ANSWERS "layout $answer_layout: needs a passphrase" "write: passphrase = ... or passphrase-file = /path" ;;
	esac
}

# The installation is known by what it writes before the settings: with other answers it cannot be resumed.
set_install_id() {
	install_id=$({
		state_disk
		source_identity
		index=1
		while [ "$index" -le "$parts" ]; do
			for field in type label uuid min max weight format encrypt mount subvolumes; do part_get "$index" "$field"; done
			index=$((index + 1))
		done
	} | digest_of | cut -c 1-32)
}

# What to do with the state that an earlier run left.
judge_state() {
	read_state
	[ -n "$state_id" ] || { state_step=; return 0; }
	if [ "$state_step" = "done" ]; then
		if [ "$state_id" = "$install_id" ] && [ "$resume" = yes ]; then
			say "$target_name was installed by these answers already; nothing was written"
			event result state=unchanged
			exit 0
		fi
		state_step=
		return 0
	fi
	same=restart
	[ "$state_id" != "$install_id" ] || same=resume
	if [ "$person" = yes ]; then ask_interrupted "$same"; return; fi
	[ "$resume" = yes ] || fail INTERRUPTED "$target_name: an installation was interrupted after the step $state_step" \
		"add --resume to go on, or --undo to clear the disk"
	[ "$same" = resume ] || fail INTERRUPTED "$target_name: the interrupted installation had another disk, layout or source" \
		"--undo, then begin again"
}

# A target with content needs the word of the answers, or of the person.
check_contents() {
	if [ -n "$image" ]; then lost=$(contents_of "$image" "the image"); else lost=$(disk_contents "$target"); fi
	[ -z "$state_step" ] || return 0
	[ -z "$lost" ] || [ "$person" = yes ] || [ "$answer_overwrite" = yes ] || [ "$dry_run" = yes ] ||
		fail REFUSED "$target_name: is not empty ($(echo "$lost" | tr '\n' ';' | sed -e 's/;$//' -e 's/;/; /g'))" \
			"to lose this, write: overwrite = yes"
}

check_space() {
	measure_tree
	eval "available=\$part_${root_part}_bytes"
	[ $((tree_kib * 1024)) -lt $((available / 100 * 93)) ] || fail TARGET_FULL \
		"$target_name: the system needs $(human $((tree_kib * 1024))), the partition for / has $(human "$available")" \
		"use a larger disk, or a layout with a larger root"
}

show_plan() {
	say ""
	if [ -n "$image" ]; then say "Target: $target_name, $(human "$target_bytes")"
	else say "Target: $target_name, $(describe_disk "$target")"; fi
	if [ -n "$state_step" ]; then say "Goes on after the step \"$state_step\" of an interrupted installation."
	elif [ -n "$lost" ]; then say "THIS WILL BE LOST:"; list_lines "" "$lost"
	else say "Nothing known is on it."; fi
	say "Source: $answer_source$([ -z "$source_tree" ] || echo " ($(human $((tree_kib * 1024))))")"
	[ "$answer_verify" = required ] || [ "$answer_source" = live ] || say "The source is NOT verified."
	[ "$answer_source_type" != image ] || { say "The image is written as it is."; return 0; }
	say "Partitions:"
	each_part show_part
	say "Host name: ${answer_hostname:-of the source}; network: $answer_network; then: $answer_finish"
}

show_part() {
	say "  $1  $(human "$(part_get "$1" bytes)")  $(part_get "$1" label)  $(part_get "$1" format)$(
		[ -z "$(part_get "$1" encrypt)" ] || echo ", encrypted ($(part_get "$1" encrypt))"
	)  $(part_get "$1" mount)"
	event partition number:="$1" size:="$(part_get "$1" bytes)" label="$(part_get "$1" label)" \
		format="$(part_get "$1" format)" mount="$(part_get "$1" mount)" encrypt="$(part_get "$1" encrypt)"
}

install_command() {
	get_answers
	if [ "$answer_source_type" = image ]; then root_part= esp_part= bios_part=
	elif [ "$parts" = 0 ]; then read_layout "$answer_layout"; fi
	get_target "$(layout_bytes)"
	check_programs
	open_source
	set_install_id
	judge_state
	check_contents
	place_partitions "$target_bytes"
	[ "$answer_source_type" = image ] || check_space
	show_plan
	[ "$dry_run" = no ] || { say "Nothing was written (--dry-run)."; event result state=dry-run; return 0; }
	[ "$person" = no ] || confirm
	[ -n "$image" ] || refuse_used_disk "$target" 0
	target_is_there
	# systemd-sysinstall does the steps of this function by itself. No root of this project has it yet.
	install_steps
	finish
}

install_steps() {
	if [ "$answer_source_type" = image ]; then step image install_image; return; fi
	step table make_table
	[ "$state_step" = table ] || read_table
	step encrypt encrypt_all
	step format format_all
	say "mounting the target"
	mount_target
	step copy copy_source
	step configure configure
	step boot make_bootable
}

encrypt_all() { each_part encrypt_partition; }
format_all() { each_part format_partition; }

# step NAME FUNCTION: do a step unless it is whole. Settings and boot loader are written again each time.
step() {
	case $1 in
	configure | boot | image) ;;
	*) if [ -n "$state_step" ] && is_whole "$1"; then
			say "step $1: whole already"
			event step step="$1" state=kept
			return
		fi ;;
	esac
	say "step $1"
	event step step="$1" state=started
	"$2"
	[ "$1" = image ] || write_state "$1"
	event step step="$1" state=finished
}

finish() {
	if [ "$answer_source_type" != image ]; then
		mkdir -p "$root/var/log"
		cp "$log" "$root/var/log/stagewright-install.log" 2> /dev/null || :
		end_now
		write_state "done"
	fi
	sync
	say "installed on $target_name"
	event result state=installed target="${target:-$image}"
	[ -n "$image" ] || then=$answer_finish
}

undo_command() {
	get_answers
	get_target 0
	undo
}
