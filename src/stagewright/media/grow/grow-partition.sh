#!/bin/sh
# Grow the last partition to the end of its disk, if it is marked, before the root is mounted.

. /lib/stagewright-disk.sh

# The partition is held open meanwhile. Otherwise udev reads the table again, and the partition is gone for a moment.
grow_partition() {
    if sfdisk --quiet --no-reread --no-tell-kernel --relocate gpt-bak-std "/dev/$disk" \
        && echo ", +" | sfdisk --quiet --force --no-reread --no-tell-kernel -N "$number" "/dev/$disk" \
        && partx --update --nr "$number" "/dev/$disk"; then
        udevadm settle --timeout=30
    else
        warn "$last: cannot grow to the end of $disk"
    fi
}

# The backup table needs 33 sectors. Less than 2 MiB of free space is not used.
if find_last_partition && [ $((end + 4096)) -le "$(cat "/sys/class/block/$disk/size")" ] && grows; then
    info "growing $last to the end of $disk"
    grow_partition 9< "/dev/$last"
fi
