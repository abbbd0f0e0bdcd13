#!/bin/sh
# rd.stagewright.stream=http://server/folder/image.squashfs, or nbd://server[:port][/export].
#
# It goes with root=live:/dev/nbd0, by which dracut's generator for systemd knows that a live system comes. Nothing may
# look at that device before it is connected, so for the rest of the initramfs the root is another one. A netroot= of
# a kind has dracut run /sbin/KINDroot when the network is there.

image=$(getarg rd.stagewright.stream=)
if [ -n "$image" ]; then
    netroot="stagewright-stream:$image"
    root="stagewright-stream"
    # shellcheck disable=SC2034  read by dracut
    rootok=1
    wait_for_dev -n /dev/root
fi
unset image
