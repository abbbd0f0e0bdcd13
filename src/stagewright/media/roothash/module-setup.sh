#!/bin/bash
# dracut module (dracut.modules(7)) that opens a root behind dm-verity by roothash=, without systemd in the initramfs.

check() {
    require_binaries blkid dd dmsetup od sed tr || return 1
    return 255
}

depends() {
    echo dm
}

installkernel() {
    instmods dm_verity sha256 sha256_generic sha256_ssse3 sha256_arm64 sha2_ce
}

install() {
    inst_multiple blkid dd dmsetup od sed tr
    inst_hook cmdline 20 "$moddir/parse-roothash.sh"
    inst_script "$moddir/open-root.sh" /sbin/stagewright-open-root
}
