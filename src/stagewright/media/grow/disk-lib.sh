#!/bin/sh
# Functions that the scripts of this module share.

# Set $disk to the name of the disk with the root (vda), and $last, $number, $end to the name and number of its last
# partition and the sector after it. Fail if the root is not on a partition.
find_last_partition() {
    name=$(label_uuid_to_dev "$(getarg root=)")
    # Before an encrypted root is open, its partition stands for it.
    [ -e "$name" ] || name=/dev/disk/by-uuid/$(getarg rd.luks.uuid= | sed 's/^luks-//')
    name=$(readlink -f "$name")
    name=${name##*/}
    while [ -n "$(ls "/sys/class/block/$name/slaves" 2> /dev/null)" ]; do # a device of device-mapper
        name=$(ls "/sys/class/block/$name/slaves" | sed -n 1p)
    done
    [ -e "/sys/class/block/$name/partition" ] || return 1
    disk=$(readlink -f "/sys/class/block/$name/..")
    disk=${disk##*/}
    end=0
    for entry in "/sys/class/block/$disk/$disk"*; do
        [ -e "$entry/partition" ] || continue
        after=$(($(cat "$entry/start") + $(cat "$entry/size")))
        [ "$after" -gt "$end" ] || continue
        end=$after
        last=${entry##*/}
        number=$(cat "$entry/partition")
    done
    [ "$end" -gt 0 ]
}

# True if the last partition has the attribute 59: its file system grows with it (Discoverable Partitions
# Specification).
grows() {
    case ",$(sfdisk --part-attrs "/dev/$disk" "$number" 2> /dev/null | sed 's/.*GUID://; s/ /,/g')," in
        *,59,*) return 0 ;;
    esac
    return 1
}
