#!/bin/sh
# build.sh KIT LESSON ROLE [FLAG]... - makes ./ROLE of the lesson's last step and
# of table.c, which see for the flags.
set -eu
kit=$1 lesson=$2 role=$3
shift 3
# table.c can't see bytes that the program does not: no splice(2).
source=$(grep -L 'splice(' "$kit"/lessons/"$lesson"-*/"$role"-[1-9]*.c |
         sort -V | tail -n 1)
wrap=
for call in accept accept4 socket recv recvfrom recvmsg recvmmsg read getline \
            __getdelim send getnameinfo; do
    wrap="$wrap -Wl,--wrap=$call"
done
# The words of these are to be parted.
# shellcheck disable=SC2046,SC2086
exec cc -std=gnu11 -g -O1 -pthread -w -I"$kit/src" "$@" -o "$role" \
    "$source" "$kit/tests/fooling/table.c" "$kit/build/src/libsockstep.a" \
    $(sed -n 's/^ \* Links: //p' "$source") $wrap
