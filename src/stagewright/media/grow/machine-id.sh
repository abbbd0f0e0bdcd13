#!/bin/sh
# Give the machine an id (machine-id(5)) if the root has an empty one. systemd writes it itself, but not into a root that
# cannot be changed: there the id is in /var, on a partition of fstab(5).

own=$NEWROOT/etc/machine-id
kept=/run/stagewright-var/lib/stagewright/machine-id

new_id() {
    sed 's/-//g' /proc/sys/kernel/random/uuid
}

keep_id() {
    device=$(sed -n 's/^\([^#[:space:]]*\)[[:space:]]*\/var[[:space:]].*/\1/p' "$NEWROOT/etc/fstab" | sed -n 1p)
    [ -n "$device" ] || return 1
    mkdir -p /run/stagewright-var
    mount "$(label_uuid_to_dev "$device")" /run/stagewright-var || return 1
    if [ ! -s "$kept" ]; then
        mkdir -p "${kept%/*}"
        new_id > "$kept.new" && mv "$kept.new" "$kept"
    fi
    sed -n 1p "$kept" > /run/machine-id
    umount /run/stagewright-var
    mount --bind /run/machine-id "$own"
}

if [ -f "$own" ] && { [ ! -s "$own" ] || [ "$(sed -n 1p "$own")" = uninitialized ]; }; then
    if [ "$(sed -n "s#^[^ ]* $NEWROOT [^ ]* \(r[ow]\).*#\1#p" /proc/mounts | sed -n '$p')" = ro ]; then
        keep_id || warn "the machine has no lasting id: /var is not a partition that can be written to"
    elif [ ! -e "$NEWROOT/usr/lib/systemd/systemd" ] && [ ! -e "$NEWROOT/lib/systemd/systemd" ]; then
        new_id > "$own"
    fi
fi
