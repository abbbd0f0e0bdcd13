#!/bin/bash
# dracut module (dracut.modules(7)) that finds a medium whose label has spaces.

check() {
    return 255
}

depends() {
    echo dmsquash-live
}

install() {
    inst_multiple sed
    inst_simple "$moddir/label.sh" /lib/stagewright-label.sh
    inst_hook cmdline 29 "$moddir/parse-label.sh"
    # All of dracut's modules start a live system by this name.
    mv "$initdir/sbin/dmsquash-live-root" "$initdir/sbin/stagewright-plain-live-root"
    inst_script "$moddir/live-root.sh" /sbin/dmsquash-live-root
}
