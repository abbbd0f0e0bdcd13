#!/bin/sh
# stagewright-watch: print a sentence when the kernel finds a changed block of the image.
#
# It keeps running after the initramfs is deleted, so it must not start a program. Each read of /dev/kmsg returns one
# record, which needs a large buffer: dd reads it, and `read` gets its lines from a pipe.

exec 3> /dev/kmsg
left=20
seen=
while read -r line; do
    case "$line" in
        *"device-mapper: verity: "*" block "*" is corrupted"*) ;;
        *) continue ;;
    esac
    block=${line##* block }
    kind=${line%% block *}
    found="${kind##* } block ${block%% *}"
    case "$seen" in
        *"<$found>"*) continue ;;
    esac
    seen="$seen<$found>"
    echo "<2>stagewright: the image was changed: $found does not match the boot arguments" >&3
    left=$((left - 1))
    [ "$left" -gt 0 ] || exit 0
done
