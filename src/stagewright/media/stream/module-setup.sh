#!/bin/bash
# dracut module (dracut.modules(7)) that reads the image of a live system over the network while the system runs.

server_files() {
    local config
    config=$(nbdkit --dump-config)
    echo "$(sed -n 's/^plugindir=//p' <<< "$config")/nbdkit-curl-plugin.so"
    echo "$(sed -n 's/^filterdir=//p' <<< "$config")/nbdkit-retry-filter.so"
}

check() {
    local file
    require_binaries nbdkit nbd-client curl setsid || return 1
    for file in $(server_files); do
        [[ -e $file ]] || return 1
    done
    return 255
}

depends() {
    echo bash network dmsquash-live
}

installkernel() {
    instmods nbd
}

install() {
    local file
    inst_multiple nbdkit nbd-client curl setsid
    for file in $(server_files); do
        # dracut-install(1) installs libraries of executables only, and plugins are not executable.
        # shellcheck disable=SC2046
        inst_multiple "$file" $(ldd "$file" | sed -n 's,.* => \(/[^ ]*\) .*,\1,p')
    done
    inst_hook cmdline 28 "$moddir/parse-stream.sh"
    inst_script "$moddir/stream-root.sh" /sbin/stagewright-streamroot
    dracut_need_initqueue
}
