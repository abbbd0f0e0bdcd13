#!/bin/bash
# dracut module (dracut.modules(7)) for disk images: the last partition and its file system grow with the disk, and each
# machine gets an id. It does not depend on the init system.

check() {
    require_binaries blkid flock partx sed sfdisk || return 1
    return 255
}

depends() {
    echo base
}

install() {
    inst_multiple blkid flock partx sed sfdisk
    inst_multiple -o btrfs resize2fs xfs_growfs
    inst_simple "$moddir/disk-lib.sh" /lib/stagewright-disk.sh
    inst_simple "$moddir/grow-partition.sh" /lib/stagewright-grow-partition.sh
    inst_simple "$moddir/cryptsetup.conf" /usr/lib/systemd/system/systemd-cryptsetup@.service.d/stagewright-grow.conf
    inst_hook pre-mount 10 "$moddir/grow-partition.sh"
    inst_hook pre-pivot 10 "$moddir/grow-file-system.sh"
    inst_hook pre-pivot 20 "$moddir/machine-id.sh"
}
