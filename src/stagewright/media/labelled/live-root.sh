#!/bin/sh
# dmsquash-live-root DEVICE-OR-FILE: start dracut's script, with the device of a label that has spaces.

type getarg > /dev/null 2>&1 || . /lib/dracut-lib.sh
. /lib/stagewright-label.sh

PATH=/usr/sbin:/usr/bin:/sbin:/bin

exec /sbin/stagewright-plain-live-root "$(live_device "$1")"
