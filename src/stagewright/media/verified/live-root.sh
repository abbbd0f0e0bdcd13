#!/bin/sh
# dmsquash-live-root DEVICE-OR-FILE: open the image of a live system through dm-verity, then start dracut's script.
#
# rd.stagewright.verity=BLOCKS:HASH has the number of data blocks and the root hash (sha256, without salt). The hash tree
# follows the data blocks in the image. It has no header, so the image contains no parameter that could be changed.

type getarg > /dev/null 2>&1 || . /lib/dracut-lib.sh
. /lib/stagewright-label.sh

PATH=/usr/sbin:/usr/bin:/sbin:/bin
LIVE_ROOT=/sbin/stagewright-live-root
STATE=/run/initramfs/stagewright-verity
NAME=stagewright-image
DEVICE=/dev/mapper/$NAME
BLOCK=4096

source=$(live_device "$1")
verity=$(getarg rd.stagewright.verity=)
blocks=${verity%%:*}
hash=${verity#*:}

[ -n "$verity" ] || exec "$LIVE_ROOT" "$source"

# Print a sentence, and stay at this point: dracut would try again for minutes, and then start a shell.
stop() {
    (die "$1")
    while :; do sleep 3600; done
}

# Start the program that prints a sentence for each changed block. systemd does not kill processes whose name begins with
# @ (systemd.io/ROOT_STORAGE_DAEMONS). A read fails (EPIPE) if the kernel has overwritten the next record meanwhile: dd
# of coreutils then continues with the oldest one that is there. The programs stay in memory as long as the machine
# runs: dash is small, and the shell that starts the two ends.
watch() {
    mkdir -p "$STATE/bin"
    ln -s "$(command -v dash || command -v sh)" "$STATE/bin/@sh"
    ln -s "$(command -v dd)" "$STATE/bin/@dd"
    PATH="$STATE/bin:$PATH" setsid sh -c '@dd if=/dev/kmsg bs=8192 conv=noerror | exec @sh /sbin/stagewright-watch &' \
        < /dev/null > /dev/null 2>&1
}

# Check the medium as dracut's script does, which only sees the image.
check_medium() {
    getarg rd.live.check > /dev/null || return 0
    if [ -n "$DRACUT_SYSTEMD" ]; then
        systemctl start "checkisomd5@$(dev_unit_name "$1").service"
    else
        checkisomd5 --verbose "$1"
    fi
    [ $? -ne 1 ] || stop "CD check failed!"
}

# The disk of a partition, if that disk is an ISO image; otherwise the device itself.
whole_medium() {
    device=$(readlink -f "$1")
    number=$(cat "/sys/class/block/${device##*/}/../dev" 2> /dev/null)
    disk=/dev/block/$number
    if [ -n "$number" ] && [ "$(blkid -o value -s TYPE "$disk")" = iso9660 ]; then
        readlink -f "$disk"
    else
        echo "$1"
    fi
}

# Set $image to the file or device with the image, and $medium to the folder of a mounted medium.
find_image() {
    image=$source
    medium=
    kind=
    [ -f "$source" ] || kind=$(blkid -o value -s TYPE "$source")
    case "$kind" in
        iso9660 | udf) check_medium "$(whole_medium "$source")" ;;
        btrfs | exfat | ext[234] | f2fs | ntfs | vfat | xfs) ;;
        *) return 0 ;; # the image itself, perhaps with a changed header
    esac
    medium=$STATE/medium
    mkdir -p "$medium"
    mount -n -t "$kind" -o ro "$source" "$medium" || stop "$source: cannot be mounted"
    folder=$(getarg rd.live.dir=)
    file=$(getarg rd.live.squashimg=)
    image=$medium/${folder:-LiveOS}/${file:-squashfs.img}
    [ -f "$image" ] || stop "$source: has no ${folder:-LiveOS}/${file:-squashfs.img}"
}

readable() {
    dd if="$DEVICE" of=/dev/null bs="$BLOCK" skip="$1" count=1 2> /dev/null
}

open_image() {
    device=$image
    [ -b "$image" ] || device=$(losetup -f --show -r "$image") || stop "$image: no loop device"
    modprobe -q dm_verity
    echo "0 $((blocks * (BLOCK / 512))) verity 1 $device $device $BLOCK $BLOCK $blocks $blocks sha256 $hash -" \
        | dmsetup create --readonly "$NAME" \
        || stop "the image cannot be opened: it is too short, or rd.stagewright.verity= is invalid"
    udevadm settle --timeout=30
    readable 0 && readable $((blocks - 1)) || stop "the image was changed: it does not match rd.stagewright.verity="
}

case "$blocks:$hash" in
    "$verity") ;;
    *) hash= ;; # there is no colon
esac
case "$blocks" in
    "" | 0* | *[!0-9]*) hash= ;;
esac
case "$hash" in
    "" | *[!0-9a-f]*) stop "rd.stagewright.verity=$verity: invalid, expected BLOCKS:HASH" ;;
esac
mkdir -p "$STATE"
find_image
watch
open_image
info "image verified by dm-verity: $blocks blocks"
"$LIVE_ROOT" "$DEVICE" || stop "the live system cannot be started, see the lines above"
if [ -n "$medium" ]; then
    ln -sfn "$source" /run/initramfs/livedev
    mount --bind "$medium" /run/initramfs/live
fi
