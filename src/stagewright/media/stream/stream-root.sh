#!/bin/sh
# stagewright-streamroot INTERFACE stagewright-stream:URL: connect the image to /dev/nbd0 and start the live system.
#
# The program that connects the image keeps running after the initramfs is deleted, so it must not need any file of it. It
# therefore uses the server's address instead of its name, and plain HTTP, which needs no certificates.

type getarg > /dev/null 2>&1 || . /lib/dracut-lib.sh

PATH=/usr/sbin:/usr/bin:/sbin:/bin
DEVICE=/dev/nbd0
SOCKET=/run/initramfs/stagewright-stream.sock
CONNECTED=/run/initramfs/stagewright-stream.connected
OVERCOMMIT=/proc/sys/vm/overcommit_memory
TRIES=40 # with five seconds in between

image=${2#stagewright-stream:}

# Print the web server's answer to a request for one byte of the image: status, address, port, URL after redirects.
# A server without range requests would send the whole image; --max-filesize stops that.
ask() {
    curl --globoff --location --silent --show-error --connect-timeout 20 --range 0-0 --max-filesize 1 \
        --output /dev/null --write-out '%{http_code} %{remote_ip} %{remote_port} %{url_effective}' -- "$image"
}

# Set $url, with the server's address instead of its name, and $host.
find_http() {
    tries=0
    while :; do
        answer=$(ask)
        case "${answer%% *}" in
            206) break ;;
            200) die "$image: cannot be streamed, the web server does not support range requests: use method http or initrd" ;;
            000 | "" | 5*) warn "$image: no answer from the web server (${answer%% *}), trying again" ;;
            *) die "$image: the web server answers ${answer%% *}: check the address and the file" ;;
        esac
        tries=$((tries + 1))
        [ "$tries" -lt "$TRIES" ] || die "$image: the web server cannot be reached"
        sleep 5
    done
    # shellcheck disable=SC2086
    set -- $answer
    case "$4" in
        http://*) ;;
        *) die "$image: redirected to $4, and only http:// can be streamed: use method http" ;;
    esac
    host=${4#http://}
    host=${host%%/*}
    path=${4#http://*/}
    case "$2" in
        *:*) url="http://[$2]:$3/$path" ;;
        *) url="http://$2:$3/$path" ;;
    esac
}

# wait_for SECONDS MESSAGE TEST...: wait until a test is true, or die with the message.
wait_for() {
    tries=$(($1 * 10))
    message=$2
    shift 2
    until [ "$@" ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || die "$message"
        sleep 0.1
    done
}

make_device() {
    modprobe nbd nbds_max=1
    wait_for 10 "the kernel did not create $DEVICE: is the driver nbd in the initramfs?" -b "$DEVICE"
}

# systemd does not kill processes whose name begins with @ (systemd.io/ROOT_STORAGE_DAEMONS). nbdkit runs in the foreground
# to print errors on the console. It then ends with its parent (measured), so the parent has to be process 1. If the web
# server is away, nbdkit waits for it. It has an array of 192 MiB that it hardly touches (version 1.32); the kernel starts
# it on machines with less memory only with overcommit.
connect_http() {
    read -r overcommit < "$OVERCOMMIT"
    echo 1 > "$OVERCOMMIT"
    # shellcheck disable=SC2016
    setsid --fork bash -c '
        echo -1000 > /proc/self/oom_score_adj
        while read -r _ _ _ parent _ < "/proc/$$/stat" && [ "$parent" != 1 ]; do sleep 0.1; done
        exec -a "@nbdkit" nbdkit "$@"' nbdkit --foreground --readonly --unix "$SOCKET" --pidfile "$SOCKET.pid" \
        --filter=retry curl "url=$url" "header=Host: $host" tcp-keepalive=true \
        retries=1000000 retry-delay=5 retry-exponential=no < /dev/null > /dev/kmsg 2>&1
    wait_for 30 "nbdkit did not start, see the lines above" -s "$SOCKET.pid"
    echo "$overcommit" > "$OVERCOMMIT"
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
    *) die "$image: cannot be streamed, rd.stagewright.stream= supports http:// and nbd://" ;;
esac
make_device
connect_$kind || die "$image: cannot be connected to $DEVICE, see the lines above"
: > "$CONNECTED"
udevadm settle --timeout=30
exec /sbin/dmsquash-live-root "$DEVICE"
