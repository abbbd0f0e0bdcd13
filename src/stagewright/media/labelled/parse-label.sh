#!/bin/sh
# root=live:CDLABEL=LABEL, before dracut's scripts read it.

. /lib/stagewright-label.sh

[ -n "$root" ] || root=$(getarg root=)
case "$root" in
    live:CDLABEL=* | live:LABEL=*) root=$(as_udev_writes_it "$root") ;;
esac
