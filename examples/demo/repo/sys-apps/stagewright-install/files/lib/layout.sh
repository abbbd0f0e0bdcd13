# shellcheck shell=sh
# Layouts: folders of definitions of systemd-repart, repart.d(5).
#
# The partition N is in the variables part_N_type, part_N_format, and so on; parts is their count.

parts=0

# The names of types of systemd-repart, with the place where they are mounted.
type_table() {
	if [ "$(uname -m)" = aarch64 ]; then echo "root b921b045-1df0-41c3-af44-4c6f280d3fae /"; fi
	cat << 'END'
esp c12a7328-f81f-11d2-ba4b-00a0c93ec93b /efi
xbootldr bc13c2ff-59e6-4262-a352-b275fd6f7172 /boot
swap 0657fd6d-a4ab-43c4-84e5-0933c84b4f4f -
root 4f68bce3-e8cd-4db1-96e7-fbcaf984b709 /
root-x86-64 4f68bce3-e8cd-4db1-96e7-fbcaf984b709 /
root-arm64 b921b045-1df0-41c3-af44-4c6f280d3fae /
home 933ac7e1-2eb4-4f13-b844-0e14e2aef915 /home
srv 3b8f8425-20e0-4f3b-907f-1a25a76f98e8 /srv
var 4d21b016-b534-45c2-a9fb-5c16e091fd2d /var
linux-generic 0fc63daf-8483-4772-8e79-3d69d8477de4 -
END
}

part_get() { eval "printf '%s\n' \"\${part_$1_$2:-}\""; }

layout_error() {
	layout_errors="$layout_errors$1: $2
"
}

# read_layout NAME: read the definitions of a built-in layout or of a folder.
read_layout() {
	case $1 in /*) layout_folder=$1 ;; *) layout_folder=$data/layouts/$1 ;; esac
	[ -d "$layout_folder" ] || fail LAYOUT "layout $1: not found ($layout_folder)" \
		"the layouts are: $(cd "$data/layouts" && echo ./* | sed 's|\./||g'); or the path of a folder"
	layout_errors=
	for definition in "$layout_folder"/*.conf; do
		[ -e "$definition" ] || fail LAYOUT "layout $1: no definitions (*.conf)" "see repart.d(5)"
		parts=$((parts + 1))
		for field in type label uuid min max weight format encrypt mount options dirs subvolumes readonly; do
			eval "part_${parts}_$field="
		done
		read_definition "$definition"
	done
	check_layout
	[ -z "$layout_errors" ] || fail LAYOUT "$(printf '%s' "$layout_errors")" "see repart.d(5); nothing was written"
}

read_definition() {
	number=0
	section=
	while IFS= read -r line || [ -n "$line" ]; do
		number=$((number + 1))
		line=$(printf '%s' "$line" | sed -e 's/^[[:space:]]*//' -e 's/[[:space:]]*$//')
		case $line in
		'' | '#'* | ';'*) ;;
		'['*) section=$line
			[ "$line" = "[Partition]" ] || layout_error "$1:$number" "unknown section $line" ;;
		*=*) [ -n "$section" ] || layout_error "$1:$number" "no [Partition] before this line"
			read_setting "$1:$number" "${line%%=*}" "${line#*=}" ;;
		*) layout_error "$1:$number" "not a setting ($line)" ;;
		esac
	done < "$1"
	[ -n "$(part_get "$parts" type)" ] || layout_error "$1" "no Type="
}

# read_setting PLACE KEY VALUE
read_setting() {
	case $2 in
	Type) set_type "$1" "$3" ;;
	Label) set_part label "$3" ;;
	UUID) set_part uuid "$3" ;;
	SizeMinBytes) set_size "$1" min "$3" ;;
	SizeMaxBytes) set_size "$1" max "$3" ;;
	Weight) case $3 in '' | *[!0-9]*) layout_error "$1" "Weight is not a number ($3)" ;; *) set_part weight "$3" ;; esac ;;
	Format) if in_list "$3" "vfat ext4 xfs btrfs swap"; then set_part format "$3"
		else layout_error "$1" "Format=$3 is unsupported (vfat, ext4, xfs, btrfs or swap)"; fi ;;
	Encrypt) if in_list "$3" "off key-file tpm2 key-file+tpm2"; then set_part encrypt "${3#off}"
		else layout_error "$1" "Encrypt=$3 is unsupported (off, key-file, tpm2 or key-file+tpm2)"; fi ;;
	MountPoint)
		set_part mount "${3%%:*}"
		case $3 in *:*) set_part options "${3#*:}" ;; esac ;;
	MakeDirectories) set_part dirs "$3" ;;
	Subvolumes) set_part subvolumes "$3" ;;
	ReadOnly) set_part readonly "$3" ;;
	GrowFileSystem | Priority | FactoryReset) ;;
	CopyFiles) warn "$1: CopyFiles is ignored: the key source says what is installed" ;;
	*) layout_error "$1" "$2 is unsupported" ;;
	esac
}

set_part() { eval "part_${parts}_$1=\$2"; }

set_type() {
	entry=$(type_table | awk -v type="$2" '$1 == type || $2 == tolower(type) { print $2, $3; exit }')
	case $entry in
	'') if echo "$2" | grep -Eqx '[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}'; then set_part type "$(echo "$2" | tr A-Z a-z)"
		else layout_error "$1" "unknown Type=$2"; fi ;;
	*)
		set_part type "${entry% *}"
		[ "${entry#* }" = - ] || [ -n "$(part_get "$parts" mount)" ] || set_part mount "${entry#* }" ;;
	esac
}

set_size() {
	if bytes_of "$3" > /dev/null; then set_part "$2" "$(bytes_of "$3")"
	else layout_error "$1" "not a size ($3)"; fi
}

# A layout needs one partition for / and, except for BIOS only, one for the boot loader.
check_layout() {
	root_part= esp_part= bios_part=
	index=1
	while [ "$index" -le "$parts" ]; do
		case $(part_get "$index" mount) in /)
			[ -z "$root_part" ] || layout_error "$layout_folder" "two partitions for /"
			root_part=$index ;;
		esac
		case $(part_get "$index" type) in
		c12a7328*) esp_part=$index ;;
		21686148*) bios_part=$index ;;
		esac
		check_partition "$index"
		index=$((index + 1))
	done
	[ -n "$root_part" ] || layout_error "$layout_folder" "no partition for / (Type=root, or MountPoint=/)"
	[ -n "$esp_part" ] || layout_error "$layout_folder" "no EFI system partition (Type=esp), which has the kernel"
}

check_partition() {
	format=$(part_get "$1" format)
	case $(part_get "$1" mount),$format in
	/,vfat | /,swap | /,) layout_error "$layout_folder" "the partition for / needs Format=ext4, xfs or btrfs" ;;
	esac
	case $(part_get "$1" type),$format in c12a7328*,vfat) ;; c12a7328*) layout_error "$layout_folder" "Type=esp needs Format=vfat" ;; esac
	case $(part_get "$1" type),$(part_get "$1" encrypt) in c12a7328*,?*) layout_error "$layout_folder" "Type=esp cannot be encrypted" ;; esac
	max=$(part_get "$1" max)
	min=$(part_min "$1")
	[ -z "$max" ] || [ "$max" -ge "$min" ] || layout_error "$layout_folder" "SizeMaxBytes=$max is below the least size ($min)"
}

# part_min N: print the least bytes of a partition, in whole MiB.
part_min() {
	least=$(part_get "$1" min)
	[ -n "$least" ] || case $(part_get "$1" format) in
	xfs) least=314572800 ;;
	btrfs) least=268435456 ;;
	vfat) least=67108864 ;;
	*) least=10485760 ;;
	esac
	echo $(((least + 1048575) / 1048576 * 1048576))
}

# The bytes that the whole layout needs, with the tables at both ends.
layout_bytes() {
	sum=$((2 * 1048576))
	index=1
	while [ "$index" -le "$parts" ]; do
		sum=$((sum + $(part_min "$index")))
		index=$((index + 1))
	done
	echo "$sum"
}

# place_partitions BYTES: set part_N_start and part_N_bytes on a disk of this size, as systemd-repart does:
# the free space is divided by weight, between the least and the largest size of each partition.
place_partitions() {
	free=$((($1 / 1048576 - 2) * 1048576))
	open=
	index=1
	while [ "$index" -le "$parts" ]; do
		open="$open $index"
		eval "part_${index}_bytes=0"
		[ -n "$(part_get "$index" weight)" ] || eval "part_${index}_weight=1000"
		index=$((index + 1))
	done
	while fix_one_partition; do :; done
	for index in $open; do
		eval "part_${index}_bytes=$(share_of "$index")"
	done
	start=1048576
	index=1
	while [ "$index" -le "$parts" ]; do
		eval "part_${index}_start=$start"
		start=$((start + $(part_get "$index" bytes)))
		index=$((index + 1))
	done
}

# The bytes for a partition of the list open, in whole MiB.
share_of() {
	weights=0
	for other in $open; do weights=$((weights + $(part_get "$other" weight))); done
	[ "$weights" -gt 0 ] || { part_min "$1"; return; }
	echo $((free / 1048576 * $(part_get "$1" weight) / weights * 1048576))
}

# Fix a partition whose share is below its least or above its largest size. Fails if there is none.
fix_one_partition() {
	for bound in min max; do
		for index in $open; do
			share=$(share_of "$index")
			if [ "$bound" = min ]; then
				limit=$(part_min "$index")
				[ "$share" -lt "$limit" ] || continue
			else
				limit=$(part_get "$index" max)
				[ -n "$limit" ] && [ "$share" -gt "$limit" ] || continue
				limit=$((limit / 1048576 * 1048576))
			fi
			eval "part_${index}_bytes=$limit"
			free=$((free - limit))
			open=$(printf '%s\n' "$open " | sed "s/ $index / /;s/ \$//")
			return 0
		done
	done
	return 1
}
