#!/bin/sh
# Keep the addresses of the machine until it is off, if its image is read over the network.
#
# systemd-networkd removes them when it stops, unless systemd knows that the root is on the network (KeepConfiguration= in
# systemd.network(5)), which it does not see behind an overlay. The shutdown would then wait forever for programs that it
# has not read yet. Addresses stay if networkd is killed.

if [ -e /run/initramfs/stagewright-stream.connected ] || grep -q -e ' nfs ' -e ' nfs4 ' /proc/mounts; then
    folder=/run/systemd/system/systemd-networkd.service.d
    mkdir -p "$folder"
    printf '[Service]\nKillSignal=SIGKILL\nSuccessExitStatus=SIGKILL\n' > "$folder/stagewright-live.conf"
fi
