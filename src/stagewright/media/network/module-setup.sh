#!/bin/bash
# dracut module (dracut.modules(7)) for live systems whose image is read over the network while they run.

check() {
    return 255
}

depends() {
    echo dmsquash-live
}

install() {
    inst_hook pre-pivot 30 "$moddir/keep-network.sh"
}
