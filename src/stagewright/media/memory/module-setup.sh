#!/bin/bash
# dracut module (dracut.modules(7)) that stops a machine whose memory is too small for the live system.

check() {
    return 255
}

depends() {
    echo dmsquash-live
}

install() {
    inst_hook cmdline 02 "$moddir/check-memory.sh"
    # dracut since 060 starts a shell if a copied image would leave less than rd.minmem, by default 1024 MiB.
    mkdir -p "$initdir/etc/cmdline.d"
    echo rd.minmem=40 > "$initdir/etc/cmdline.d/91-stagewright-memory.conf"
}
