#!/bin/bash
# dracut module (dracut.modules(7)) that opens the image of a live system through dm-verity.

check() {
    require_binaries blkid dd dmsetup losetup setsid || return 1
    return 255
}

depends() {
    echo dm dmsquash-live stagewright-label
}

installkernel() {
    instmods dm_verity sha256 sha256_generic sha256_ssse3 sha256_arm64 sha2_ce
}

install() {
    inst_multiple blkid dd dmsetup losetup setsid
    inst_multiple -o dash
    # All of dracut's modules start a live system by this name.
    mv "$initdir/sbin/dmsquash-live-root" "$initdir/sbin/stagewright-live-root"
    inst_script "$moddir/live-root.sh" /sbin/dmsquash-live-root
    inst_script "$moddir/watch.sh" /sbin/stagewright-watch
}
