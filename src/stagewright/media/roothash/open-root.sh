#!/bin/sh
# stagewright-open-root DATA HASHES ROOTHASH: open a root behind dm-verity as /dev/mapper/root, from two partitions with
# these UUIDs. The parameters are in the first block of the hashes, as veritysetup(8) writes it. The kernel refuses a
# block that does not match the root hash, so wrong parameters give no other data.

type getarg > /dev/null 2>&1 || . /lib/dracut-lib.sh

data=/dev/disk/by-partuuid/$1
hashes=/dev/disk/by-partuuid/$2
hash=$3

[ -e /dev/mapper/root ] && exit 0
[ -b "$data" ] && [ -b "$hashes" ] || exit 1

# field OFFSET BYTES FORMAT: a field of the superblock, without spaces.
field() {
    dd if="$hashes" bs=1 skip="$1" count="$2" 2> /dev/null | od -An -v "$3" | tr -d ' \n'
}

if [ "$(field 0 8 -tx1)" != 7665726974790000 ] || [ "$(field 8 4 -tu4):$(field 12 4 -tu4)" != 1:1 ]; then
    die "$hashes: not a partition with hashes of dm-verity"
fi
block=$(field 64 4 -tu4)
blocks=$(field 72 8 -tu8)
length=$(field 80 2 -tu2)
salt=-
[ "$length" = 0 ] || salt=$(field 88 "$length" -tx1)
modprobe -q dm_verity
echo "0 $((blocks * (block / 512))) verity 1 $(readlink -f "$data") $(readlink -f "$hashes") $block $block $blocks 1 sha256 $hash $salt" \
    | dmsetup create --readonly root \
    || die "the root cannot be opened by dm-verity"
udevadm settle --timeout=30
dd if=/dev/mapper/root of=/dev/null bs="$block" count=1 2> /dev/null \
    || die "the root was changed: it does not match roothash=$hash"
info "root verified by dm-verity: $blocks blocks"
