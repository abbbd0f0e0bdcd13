#!/bin/sh
# Functions for labels with spaces, for which udev writes \x20. GRUB up to 2.06 doubles the backslash.

# Print a text with one backslash before each x20.
as_udev_writes_it() {
    printf '%s\n' "$1" | sed 's/\\\\*x20/\\x20/g'
}

# Print the device of a live system. dracut's queue of jobs takes the backslashes out of its name.
live_device() {
    if [ ! -e "$1" ]; then
        label=$(getarg root=)
        label=${label#live:}
        device=$(as_udev_writes_it "/dev/disk/by-label/${label#*LABEL=}")
        case "$label" in
            CDLABEL=* | LABEL=*) [ ! -e "$device" ] || set -- "$device" ;;
        esac
    fi
    printf '%s\n' "$1"
}
