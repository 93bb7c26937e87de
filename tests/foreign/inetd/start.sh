#!/bin/sh
# Usage: start.sh HOST PORT
# inetd reads its settings from a plain file only. The name of that file is
# gone before inetd reads it, so that none is left behind.
PATH=$PATH:/usr/sbin:/sbin
settings=$(mktemp) &&
    echo "$1:$2 stream tcp nowait $(id -un) /bin/cat cat" >"$settings" &&
    exec 3<"$settings" &&
    rm "$settings" &&
    exec inetutils-inetd --debug --pidfile=/dev/null /dev/fd/3
