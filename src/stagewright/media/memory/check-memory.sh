#!/bin/sh
# Stop with a sentence if the memory is too small for the live system. rd.stagewright.memory=no turns this off.
#
# Otherwise the kernel would end programs, or panic, while the image is copied to memory. dracut sources this file before
# it starts udev. The subshell keeps the variables away from dracut.

stagewright_memory() (
    PROC=${PROC:-/proc}
    PROGRAMS=${PROGRAMS:-/sbin}
    KMSG=${KMSG:-/dev/kmsg}
    RUNNING=40 # MiB that the programs of the initramfs, and then the start of a small system, need (24 measured)

    # Set $total and $free, in MiB. Kernels before 3.14 do not report $free.
    read_memory() {
        total=0
        free=
        while read -r name value _; do
            case "$name" in
                MemTotal:) total=$((value / 1024)) ;;
                MemAvailable:) free=$((value / 1024)) ;;
            esac
        done < "$PROC/meminfo"
    }

    # Set $machine to the memory of the machine, in MiB. MemTotal lacks what the kernel has taken for itself.
    read_machine() {
        bytes=0
        while IFS=' -:' read -r first last kind more; do
            case "$kind $more" in
                "System RAM") bytes=$((bytes + 0x$last - 0x$first + 1)) ;;
            esac
        done < "$PROC/iomem"
        machine=$(((bytes + 1048575) / 1048576))
        [ "$machine" -ge "$total" ] || machine=$total
    }

    # Set $image to the size of the image, in MiB; 0 if it is unknown.
    read_image() {
        blocks=$(getarg rd.stagewright.verity=)
        blocks=${blocks%%:*} # of 4 KiB
        size=$(getarg rd.stagewright.size=) # of an image that is not verified, in MiB
        case "$blocks:$size" in
            :*[!0-9]* | :) image=0 ;;
            :*) image=$size ;;
            *[!0-9]*:*) image=0 ;;
            *) image=$((blocks / 256 + 1)) ;;
        esac
    }

    # Set $copied to the memory that a copy of the image will need, $kept to that of a copy which exists already, and
    # $purpose to words for the sentence.
    read_purpose() {
        copied=0
        kept=0
        purpose=
        case "$root" in
            live:http://* | live:https://* | live:ftp://*)
                copied=$image
                purpose=" for the method http, which copies the image to memory"
                ;;
            live:/*.[Ii][Mm][Gg])
                kept=$image
                purpose=" for the method initrd, which keeps the image in memory"
                ;;
        esac
        if getargbool 0 rd.live.ram; then
            copied=$((copied + image))
            purpose=" to copy the image to memory"
        fi
    }

    # Print what starts this machine as it is.
    way_out() {
        others=
        [ ! -e "$PROGRAMS/stagewright-streamroot" ] || others="stream or nbd"
        [ ! -e "$PROGRAMS/nfsroot" ] || others="${others:+stream, nbd or }nfs"
        if [ $((copied + kept)) = 0 ] || [ $((free + kept)) -lt "$RUNNING" ]; then
            echo "no way to start it needs less"
        elif getargbool 0 rd.live.ram && [ $((free + image)) -ge "$needed" ]; then
            echo "it starts without rd.live.ram"
        elif [ -n "$others" ]; then
            echo "it starts with the method $others"
        else
            echo "it starts if the image stays on the server (initramfs module stagewright-stream)"
        fi
    }

    # rd.live.ram copies to /run, whose default limit is a part of the memory that large images exceed.
    make_room() {
        if getargbool 0 rd.live.ram; then
            mount -o "remount,size=$((copied + total / 5))m" /run
        fi
    }

    getargbool 1 rd.stagewright.memory || return 0
    root=$(getarg root=)
    case "$root" in
        live:*) ;;
        *) return 0 ;;
    esac
    read_memory
    [ -n "$free" ] || return 0
    read_image
    read_purpose
    needed=$((copied + RUNNING))
    if [ "$free" -ge "$needed" ]; then
        make_room
        return 0
    fi
    read_machine
    lacking=$((needed - free))
    least=$(((machine + lacking + lacking / 50 + 15) / 16 * 16)) # the kernel needs 1.6 % of the memory to manage it
    sentence="not enough memory: this machine has $machine MiB and needs $least MiB$purpose; $(way_out)"
    echo "<2>stagewright: $sentence (rd.stagewright.memory=no tries it anyway)" > "$KMSG"
    while :; do sleep 3600; done
)

stagewright_memory
unset -f stagewright_memory
