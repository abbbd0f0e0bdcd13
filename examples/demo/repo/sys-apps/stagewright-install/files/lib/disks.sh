# shellcheck shell=sh
# The disks of this machine, their identity and the search by it. Only /sys and the start of disks are read.
#
# The variable sysfs is /sys. Tests of cases that a machine cannot show use a copy.

# disk_names: print the kernel names of all disks.
disk_names() {
	for folder in "$sysfs"/block/*; do
		name=${folder##*/}
		case $name in ram* | zram* | loop* | dm-* | md* | sr* | fd* | mtdblock* | '*') continue ;; esac
		[ "$(disk_bytes "$name")" -gt 0 ] || continue
		[ "$(read_attribute "$name" hidden)" != 1 ] || continue
		echo "$name"
	done
}

# read_attribute DISK FILE...: print the first attribute that is not empty. Starts no program: machines have many.
read_attribute() {
	attribute_folder=$sysfs/block/$1
	shift
	for attribute; do
		text=
		[ ! -r "$attribute_folder/$attribute" ] || read -r text 2> /dev/null < "$attribute_folder/$attribute" || :
		case $text in *[![:print:]]*) text=$(printf '%s' "$text" | clean) ;; esac
		[ -z "$text" ] || { echo "$text"; return; }
	done
}

disk_bytes() {
	sectors=$(read_attribute "$1" size)
	echo $((${sectors:-0} * 512))
}

disk_model() {
	vendor=$(read_attribute "$1" device/vendor)
	case $vendor in ATA | 0x* | '') vendor= ;; *) vendor="$vendor " ;; esac
	echo "$vendor$(read_attribute "$1" device/model)"
}

# The serial number; SCSI and ATA disks have it in the page 0x80 of their product data, after 4 bytes. dd(1) reads them
# where a file refuses to seek, which tail(1) of GNU does not.
disk_serial() {
	serial=$(read_attribute "$1" serial device/serial)
	if [ -z "$serial" ] && [ -r "$sysfs/block/$1/device/vpd_pg80" ]; then
		serial=$(dd if="$sysfs/block/$1/device/vpd_pg80" bs=4 skip=1 2> /dev/null | clean) || :
	fi
	echo "$serial"
}

disk_wwn() {
	wwn=$(read_attribute "$1" wwid device/wwid)
	case $wwn in
	naa.*) echo "0x${wwn#naa.}" ;;
	eui.* | nvme.*) echo "$wwn" ;;
	esac
}

# The names in /dev/disk/by-id as udev makes them, for systems without udev.
disk_ids() {
	serial=$(disk_serial "$1" | tr ' ' _)
	model=$(read_attribute "$1" device/model | tr ' ' _)
	wwn=$(disk_wwn "$1")
	case $1 in
	vd*) [ -z "$serial" ] || echo "virtio-$serial" ;;
	nvme*)
		[ -z "$serial" ] || echo "nvme-${model}_$serial"
		[ -z "$wwn" ] || echo "nvme-$wwn" ;;
	mmc*) [ -z "$serial" ] || echo "mmc-$(read_attribute "$1" device/name)_$serial" ;;
	sd*) if [ "$(read_attribute "$1" device/vendor)" = ATA ]; then
			[ -z "$serial" ] || echo "ata-${model}_$serial"
		elif [ -n "$serial" ]; then
			echo "scsi-0$(read_attribute "$1" device/vendor | tr ' ' _)_${model}_$serial"
		fi ;;
	esac
	case $1,$wwn in sd*,0x*) echo "wwn-$wwn" ;; esac
}

# The way to name the disk in answers.
disk_key() {
	id=$(disk_ids "$1" | sed -n 1p)
	if [ -n "$id" ]; then echo "/dev/disk/by-id/$id"
	elif [ -n "$(disk_wwn "$1")" ]; then echo "wwn:$(disk_wwn "$1")"
	elif [ -n "$(disk_serial "$1")" ]; then echo "serial:$(disk_serial "$1")"
	fi
}

# What distinguishes a disk from one that gets its kernel name later: diskseq grows with each new disk.
disk_identity() {
	echo "$(disk_bytes "$1") $(read_attribute "$1" diskseq) $(disk_serial "$1")"
}

# matching_disks ANSWER: print the kernel names of all disks that the answer names.
matching_disks() {
	case $1 in /dev/disk/*)
		linked=$(readlink -f "$1" 2> /dev/null) && [ -b "$linked" ] || linked=
		;;
	*) linked= ;;
	esac
	for candidate in $(disk_names); do
		case $1 in
		serial:*) [ "$(disk_serial "$candidate")" = "${1#serial:}" ] || continue ;;
		wwn:*) [ "$(disk_wwn "$candidate")" = "${1#wwn:}" ] || continue ;;
		*) [ "$linked" = "/dev/$candidate" ] || in_list "${1#/dev/disk/by-id/}" "$(disk_ids "$candidate" | tr '\n' ' ')" ||
			continue ;;
		esac
		echo "$candidate"
	done
}

# twins_of DISK: print other disks with the same serial number and model.
twins_of() {
	own=$(disk_serial "$1")
	[ -n "$own" ] || return 0
	for twin in $(disk_names); do
		[ "$twin" = "$1" ] || [ "$(disk_serial "$twin")" != "$own" ] ||
			[ "$(disk_model "$twin")" != "$(disk_model "$1")" ] || echo "$twin"
	done
}

# find_disk ANSWER SIZE: set target to the only disk with this name and size, or end the program.
find_disk() {
	hint="stagewright-install --list shows the disks"
	matches=$(matching_disks "$1" | tr '\n' ' ')
	case $matches in
	'') fail REFUSED "disk $1: not found" "$hint" ;;
	*' '?*) fail REFUSED "disk $1: several disks have this name (${matches% })" "name one that is different: $hint" ;;
	esac
	target=${matches% }
	same_size "$(disk_bytes "$target")" "$2" ||
		fail REFUSED "disk $1: $target has $(disk_bytes "$target") bytes, the answers say $2" "$hint"
	twins=$(twins_of "$target" | tr '\n' ' ')
	[ -z "$twins" ] || fail REFUSED \
		"disk $1: $target and ${twins% } have the same serial number ($(disk_serial "$target"))" \
		"detach all but one of them"
}

# disk_partitions DISK: print the kernel names of its partitions.
disk_partitions() {
	for folder in "$sysfs/block/$1/$1"*; do
		[ ! -e "$folder/partition" ] || echo "${folder##*/}"
	done
}

# disk_contents DISK: print a line for each thing that an installation destroys.
disk_contents() {
	contents_of "/dev/$1" "the disk"
	for one in $(disk_partitions "$1"); do
		sectors=$(cat "$sysfs/block/$1/$one/size")
		contents_of "/dev/$one" "partition $one ($(human $((sectors * 512))))" always
	done
}

contents_of() {
	found=$(probe "$1")
	if [ -n "$found" ]; then echo "$2: $found"
	elif [ -n "${3:-}" ]; then echo "$2: nothing known"
	fi
}

# list_disks: for people, or as JSON.
list_disks() {
	[ "$json" = yes ] || [ -n "$(disk_names)" ] || say "no disks"
	for one in $(disk_names); do
		refusals=$(disk_refusals "$one" 0)
		if [ "$json" = yes ]; then
			event disk name="$one" size:="$(disk_bytes "$one")" model="$(disk_model "$one")" serial="$(disk_serial "$one")" \
				wwn="$(disk_wwn "$one")" disk="$(disk_key "$one")" contents="$(disk_contents "$one")" refused="$refusals"
			continue
		fi
		say "$one  $(describe_disk "$one")"
		list_lines "holds: " "$(disk_contents "$one")"
		if [ -n "$refusals" ]; then
			list_lines "cannot be used: " "$refusals"
			continue
		fi
		key=$(disk_key "$one")
		[ -n "$key" ] || say "  has no serial number: only a guided installation can name it"
		[ -z "$key" ] || say "  disk = $key"
		[ -z "$key" ] || say "  size = $(disk_bytes "$one")"
	done
}

# Size, model and serial number, as far as they are known.
describe_disk() {
	text=$(human "$(disk_bytes "$1")")
	model=$(disk_model "$1")
	serial=$(disk_serial "$1")
	echo "$text${model:+, $model}${serial:+, serial $serial}"
}

list_lines() {
	[ -z "$2" ] || printf '%s\n' "$2" | while IFS= read -r entry; do say "  $1$entry"; done
}
