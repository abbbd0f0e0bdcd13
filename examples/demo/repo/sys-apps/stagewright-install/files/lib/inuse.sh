# shellcheck shell=sh
# What forbids to write on a disk: mounts, swap, members and holders, the running system, size, write protection.

# under BLOCK: print the disks below a block device, through partitions, mappings, arrays and loop devices.
under() {
	folder=$(readlink -f "$sysfs/class/block/$1" 2> /dev/null) || return 0
	[ -d "$folder" ] || return 0
	if [ -e "$folder/partition" ]; then
		folder=${folder%/*}
		under "${folder##*/}"
		return
	fi
	if [ -r "$folder/loop/backing_file" ]; then
		below_file "$(cat "$folder/loop/backing_file")"
	else
		echo "${folder##*/}"
	fi
	# The recursion changes the variable folder, so the list is made before it.
	for lower in "$folder"/slaves/*; do
		[ ! -e "$lower" ] || echo "${lower##*/}"
	done | while IFS= read -r lower; do (under "$lower"); done
}

# The disks below the file of a loop device. A path of an initramfs may not exist any more.
below_file() {
	if [ -b "$1" ]; then under "${1##*/}"; return; fi
	[ -e "$1" ] || return 0
	device=$(df -P "$1" 2> /dev/null | awk 'NR == 2 { print $1 }') || :
	case $device in /dev/*) device=$(readlink -f "$device") && under "${device##*/}" ;; esac
}

# block_of MAJOR:MINOR SOURCE: print the kernel name of what is mounted.
block_of() {
	if [ -e "$sysfs/dev/block/$1" ]; then
		link=$(readlink "$sysfs/dev/block/$1") && echo "${link##*/}"
		return
	fi
	case $2 in /dev/*) link=$(readlink -f "$2" 2> /dev/null) && echo "${link##*/}" ;; esac
	return 0
}

# uses: print a line "DISK REASON" for each use of a disk by this system.
uses() {
	while read -r _ _ numbers _ where rest; do
		source=${rest##* - }
		source=${source#* }
		block=$(block_of "$numbers" "${source%% *}")
		[ -z "$block" ] || for lower in $(under "$block"); do
			case $where in
			/ | /run/initramfs/* | /run/rootfsbase | /mnt/cdrom | /mnt/livecd | /run/live/*)
				echo "$lower the running system is on it (mounted at $where)" ;;
			*) echo "$lower mounted at $where" ;;
			esac
		done
	done < /proc/self/mountinfo
	while read -r file _; do
		case $file in
		/dev/*) block=$(readlink -f "$file") && for lower in $(under "${block##*/}"); do echo "$lower used as swap ($file)"; done ;;
		/*) for lower in $(below_file "$file"); do echo "$lower has a swap file ($file)"; done ;;
		esac
	done < /proc/swaps
	for loop in "$sysfs"/block/loop*/loop/backing_file; do
		[ ! -r "$loop" ] || loop_use "$loop"
	done
}

loop_use() {
	loop=${1%/loop/backing_file}
	for lower in $(under "${loop##*/}"); do
		echo "$lower used by ${loop##*/} ($(cat "$1"))"
	done
}

# holders_of DISK: print the mappings and arrays that use the disk or its partitions.
holders_of() {
	for holder in "$sysfs/block/$1"/holders/* "$sysfs/block/$1/$1"*/holders/*; do
		[ -e "$holder" ] || continue
		mapping=$(cat "$holder/dm/name" 2> /dev/null) || :
		echo "held by ${holder##*/}${mapping:+ $mapping}"
	done
}

# members_of DISK: print signatures of arrays and volume groups, also of ones that do not run.
members_of() {
	for one in "$1" $(disk_partitions "$1"); do
		case $(probe "/dev/$one") in
		linux_raid_member* | ddf_raid_member* | isw_raid_member*) echo "$one is a member of a RAID array" ;;
		LVM2_member*) echo "$one is a physical volume of LVM" ;;
		zfs_member* | bcache* | drbd*) echo "$one is a member of a pool or cache" ;;
		esac
	done
}

# disk_refusals DISK BYTES: print each reason against an installation that needs BYTES.
disk_refusals() {
	[ -d "$sysfs/block/$1" ] || { echo "the disk is gone"; return; }
	[ "$(read_attribute "$1" ro)" != 1 ] || echo "it is read-only"
	[ "$(disk_bytes "$1")" -ge "$2" ] ||
		echo "it is too small: $(human "$(disk_bytes "$1")"), at least $(human "$2") are needed"
	uses | while read -r user reason; do [ "$user" != "$1" ] || echo "$reason"; done | sort -u
	holders_of "$1" | sort -u
	members_of "$1"
}

# refuse_used_disk DISK BYTES: end the program if something forbids to write.
refuse_used_disk() {
	refusals=$(disk_refusals "$1" "$2")
	[ -z "$refusals" ] || {
		case $refusals in
		*member* | *volume*) hint="stop the array or volume group and clear it: wipefs --all, for each member" ;;
		*"running system"*) hint="choose another disk" ;;
		*small*) hint="choose a larger disk, or a layout with smaller partitions" ;;
		*) hint="end the use (umount, swapoff, losetup -d), or choose another disk" ;;
		esac
		fail REFUSED "disk $1: $(echo "$refusals" | sed 's/$/;/' | tr '\n' ' ' | sed 's/; $//')" "$hint"
	}
}

# probe FILE: print the type and the label of what begins on a device, or nothing.
probe() {
	[ -r "$1" ] || return 0
	if [ "$probe_by_blkid" = yes ]; then
		# blkid fails if it finds nothing.
		{ blkid -p -o export "$1" 2> /dev/null || :; } | awk -F= '
			$1 == "TYPE" { type = $2 } $1 == "LABEL" { label = $2 } $1 == "PTTYPE" { table = $2 }
			END {
				if (type) print type (label ? " \"" label "\"" : "")
				else if (table) print "partition table (" table ")"
			}'
		return
	fi
	probe_by_magic "$1"
}

# The same without blkid of util-linux: magic numbers of what matters, at their offsets in hexadecimal text.
probe_by_magic() {
	known=$({ dd if="$1" bs=4096 count=17 2> /dev/null || :; } | od -An -v -tx1 | awk '
		BEGIN {
			magics = "0 4c554b53babe LUKS,4096 fc4e2ba9 linux_raid_member,0 fc4e2ba9 linux_raid_member,1080 53ef ext4," \
				"0 58465342 xfs,65600 5f42485266535f4d btrfs,4086 53574150535041434532 swap,0 68737173 squashfs," \
				"1024 e2e1f5e0 erofs,32769 4344303031 iso9660,82 4641543332 vfat,54 4641543136 vfat," \
				"512 4c4142454c4f4e45 LVM2_member,0 4c4142454c4f4e45 LVM2_member,1024 4c4142454c4f4e45 LVM2_member," \
				"1536 4c4142454c4f4e45 LVM2_member,512 4546492050415254 partition table (gpt),510 55aa partition table (dos)"
			count = split(magics, magic, ",")
			for (i = 1; i <= count; i++) {
				split(magic[i], words, " ")
				for (line = int(words[1] / 16); line <= int((words[1] + 12) / 16); line++) wanted[line] = 1
			}
		}
		(NR - 1) in wanted { gsub(" ", ""); text[NR - 1] = $0 }
		END {
			for (i = 1; i <= count; i++) {
				split(magic[i], words, " ")
				line = int(words[1] / 16)
				found = substr(text[line] text[line + 1], words[1] % 16 * 2 + 1, length(words[2]))
				if (found == words[2]) { print substr(magic[i], length(words[1] words[2]) + 3); exit }
			}
		}')
	if [ -n "$known" ]; then echo "$known"; else raid_at_the_end "$1"; fi
}

# RAID metadata 0.90 and 1.0 are at the end of a device.
raid_at_the_end() {
	end=$(cat "$sysfs/class/block/${1##*/}/size" 2> /dev/null) || return 0
	for sector in $((end / 128 * 128 - 128)) $((end / 8 * 8 - 16)); do
		[ "$sector" -gt 0 ] || continue
		[ "$(bytes_at "$1" $((sector * 512)) 4)" != fc4e2ba9 ] || { echo linux_raid_member; return; }
	done
}
