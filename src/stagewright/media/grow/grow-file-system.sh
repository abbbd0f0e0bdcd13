#!/bin/sh
# Grow the file system of the last partition, if it is marked. A machine that lost power in between goes on here.

. /lib/stagewright-disk.sh

# grow_mounted TYPE FOLDER: the file system of $last, which is mounted there.
grow_mounted() {
    case "$1" in
        ext4) resize2fs "/dev/$last" ;;
        xfs) xfs_growfs -d "$2" ;;
        btrfs) btrfs filesystem resize max "$2" ;;
    esac > /run/stagewright-grow.log 2>&1 || warn "$last: its $1 cannot grow: $(sed -n '$p' /run/stagewright-grow.log)"
}

# folder_of TYPE: the folder where $last is mounted, and whether it is rw or ro.
folder_of() {
    sed -n "s#^/dev/$last \([^ ]*\) $1 \(r[ow]\).*#\1 \2#p; s#^/dev/root \($NEWROOT\) $1 \(r[ow]\).*#\1 \2#p" \
        /proc/mounts | sed -n 1p
}

if find_last_partition && grows; then
    type=$(blkid -o value -s TYPE "/dev/$last")
    found=$(folder_of "$type")
    folder=${found% *}
    case "$type:${found##* }" in
        ext4:rw | xfs:rw | btrfs:rw) grow_mounted "$type" "$folder" ;;
        ext4:ro | xfs:ro | btrfs:ro)
            if mount -o remount,rw "$folder"; then
                grow_mounted "$type" "$folder"
                mount -o remount,ro "$folder"
            fi
            ;;
        ext4:* | xfs:* | btrfs:*)
            mkdir -p /run/stagewright-grow
            if mount -t "$type" "/dev/$last" /run/stagewright-grow; then
                grow_mounted "$type" /run/stagewright-grow
                umount /run/stagewright-grow
            fi
            ;;
    esac
fi
