#!/bin/sh
# roothash=HASH: the root hash of dm-verity (64 hexadecimal digits). Partitions with the UUIDs that follow from it
# (Discoverable Partitions Specification) become /dev/mapper/root.

hash=$(getarg roothash=)
if [ -n "$hash" ] && [ ! -e /usr/lib/systemd/systemd-veritysetup ]; then
    case "$hash" in
        *[!0-9a-f]*) die "roothash=$hash: invalid, expected 64 hexadecimal digits" ;;
    esac
    [ "${#hash}" = 64 ] || die "roothash=$hash: invalid, expected 64 hexadecimal digits"
    # guid DIGITS: the UUID at the start of these hexadecimal digits.
    guid() {
        echo "$1" | sed 's/^\(.\{8\}\)\(.\{4\}\)\(.\{4\}\)\(.\{4\}\)\(.\{12\}\).*/\1-\2-\3-\4-\5/'
    }
    data=$(guid "$hash")
    hashes=$(guid "${hash#????????????????????????????????}")
    for uuid in "$data" "$hashes"; do
        echo "[ -e /dev/disk/by-partuuid/$uuid ]" > "$hookdir/initqueue/finished/stagewright-$uuid.sh"
    done
    /sbin/initqueue --settled --unique --name stagewright-roothash /sbin/stagewright-open-root "$data" "$hashes" "$hash"
    wait_for_dev -n /dev/mapper/root
fi
