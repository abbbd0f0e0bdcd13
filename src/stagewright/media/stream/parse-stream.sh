#!/bin/sh
# rd.stagewright.stream=http://server/folder/image.squashfs, or nbd://server[:port][/export].
#
# It requires root=live:/dev/nbd0, by which dracut's generator for systemd recognizes a live system. This script replaces
# root= for the rest of the initramfs, because nothing may open the device before it is connected. With netroot=KIND:...
# dracut runs /sbin/KINDroot when the network is up.

image=$(getarg rd.stagewright.stream=)
if [ -n "$image" ]; then
    netroot="stagewright-stream:$image"
    root="stagewright-stream"
    # shellcheck disable=SC2034  read by dracut
    rootok=1
    wait_for_dev -n /dev/root
fi
unset image
