#!/bin/sh
# Grow the last partition to the end of its disk, if it is marked, before the root is mounted.

. /lib/stagewright-disk.sh

# The disk is locked and the partition held open meanwhile: udev would look at the partition between the two changes, of
# the table and of the kernel's size, find that they differ, and take the links to it away
# (https://systemd.io/BLOCK_DEVICE_LOCKING). systemd then stops what waits for them, such as the question for a passphrase.
grow_partition() {
    flock 8
    sfdisk --quiet --no-reread --no-tell-kernel --relocate gpt-bak-std "/dev/$disk" \
        && echo ", $((room - start))" | sfdisk --quiet --force --no-reread --no-tell-kernel -N "$number" "/dev/$disk" \
        && partx --update --nr "$number" "/dev/$disk"
}

# The backup table needs 33 sectors. Partitions end at a whole MiB: LUKS2 cannot open one that ends within its sectors of
# 4 KiB. Less than 2 MiB of free space is not used.
if find_last_partition && size=$(cat "/sys/class/block/$disk/size") && [ $((end + 4096)) -le "$size" ] && grows; then
    room=$(((size - 33) / 2048 * 2048))
    start=$(cat "/sys/class/block/$last/start")
    info "growing $last to the end of $disk"
    grow_partition 8< "/dev/$disk" 9< "/dev/$last" || warn "$last: cannot grow to the end of $disk"
    udevadm trigger --action=change --name-match="/dev/$last" # events of a locked disk may be lost
    udevadm settle --timeout=30
fi
