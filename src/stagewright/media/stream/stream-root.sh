#!/bin/sh
# stagewright-streamroot INTERFACE stagewright-stream:URL: connect the image to /dev/nbd0 and start the live system.
#
# What serves it goes on when the initramfs is gone, so it must need no file of it any more: the server is called by its
# address, not by its name, and only plain HTTP is spoken, which takes no certificates.

type getarg > /dev/null 2>&1 || . /lib/dracut-lib.sh

PATH=/usr/sbin:/usr/bin:/sbin:/bin
DEVICE=/dev/nbd0
SOCKET=/run/initramfs/stagewright-stream.sock
CONNECTED=/run/initramfs/stagewright-stream.connected
TRIES=40 # five seconds between two of them

image=${2#stagewright-stream:}

# What the web server says of one byte of the image: status, address, port, where it was in the end.
# A server without ranges would send it all: --max-filesize ends that.
ask() {
    curl --globoff --location --silent --show-error --connect-timeout 20 --range 0-0 --max-filesize 1 \
        --output /dev/null --write-out '%{http_code} %{remote_ip} %{remote_port} %{url_effective}' -- "$image"
}

# Sets $url, with the server's address for its name, and $host.
find_http() {
    tries=0
    while :; do
        answer=$(ask)
        case "${answer%% *}" in
            206) break ;;
            200) die "$image: the web server has no ranges, so it cannot be streamed: use method http or initrd" ;;
            000 | "" | 5*) warn "$image: no answer from the web server (${answer%% *}), trying again" ;;
            *) die "$image: the web server answers ${answer%% *}: see the address, and whether the file is there" ;;
        esac
        tries=$((tries + 1))
        [ "$tries" -lt "$TRIES" ] || die "$image: the web server cannot be reached"
        sleep 5
    done
    # shellcheck disable=SC2086
    set -- $answer
    case "$4" in
        http://*) ;;
        *) die "$image leads to $4, and only http:// can be streamed: use method http" ;;
    esac
    host=${4#http://}
    host=${host%%/*}
    path=${4#http://*/}
    case "$2" in
        *:*) url="http://[$2]:$3/$path" ;;
        *) url="http://$2:$3/$path" ;;
    esac
}

# wait_for SECONDS WHAT-ELSE TEST...: until a test is true, or end with what is wrong.
wait_for() {
    tries=$(($1 * 10))
    wrong=$2
    shift 2
    until [ "$@" ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || die "$wrong"
        sleep 0.1
    done
}

make_device() {
    modprobe nbd nbds_max=1
    wait_for 10 "the kernel made no $DEVICE: has the initramfs the driver nbd?" -b "$DEVICE"
}

# systemd leaves alone what calls itself @ (systemd.io/ROOT_STORAGE_DAEMONS). In the foreground, where it tells the console
# of errors, nbdkit ends with its parent (measured), so that has to be process 1. A web server that is away is waited for.
connect_http() {
    # shellcheck disable=SC2016
    setsid --fork bash -c '
        echo -1000 > /proc/self/oom_score_adj
        while read -r _ _ _ parent _ < "/proc/$$/stat" && [ "$parent" != 1 ]; do sleep 0.1; done
        exec -a "@nbdkit" nbdkit "$@"' nbdkit --foreground --readonly --unix "$SOCKET" --pidfile "$SOCKET.pid" \
        --filter=retry curl "url=$url" "header=Host: $host" tcp-keepalive=true \
        retries=1000000 retry-delay=5 retry-exponential=no < /dev/null > /dev/kmsg 2>&1
    wait_for 30 "nbdkit did not start, the lines above say why" -s "$SOCKET.pid"
    nbd-client -unix "$SOCKET" "$DEVICE" -systemd-mark > /dev/kmsg 2>&1
}

connect_nbd() {
    rest=${image#nbd://}
    server=${rest%%/*}
    port=${server##*:}
    [ "$port" != "$server" ] || port=10809
    export=
    [ "$rest" = "$server" ] || export=${rest#*/}
    nbd-client "${server%:*}" "$port" -name "$export" "$DEVICE" -systemd-mark > /dev/kmsg 2>&1
}

[ -e "$CONNECTED" ] && exit 0
info "streaming $image"
case "$image" in
    http://*)
        kind=http
        find_http
        ;;
    nbd://*) kind=nbd ;;
    *) die "$image cannot be streamed: rd.stagewright.stream= takes http:// and nbd://" ;;
esac
make_device
connect_$kind || die "$image could not be connected to $DEVICE, the lines above say why"
: > "$CONNECTED"
udevadm settle --timeout=30
exec /sbin/dmsquash-live-root "$DEVICE"
