#!/bin/busybox sh
# What the guest does while its disk is pulled: it works, lets go, says so, and sees it go.
. /card.sh
. /blk.sh

work() {
    dd if=/dev/urandom of=/tmp/block bs=64k count=8 2>/dev/null
    dd if=/tmp/block of=/dev/vda bs=64k oflag=direct 2>/dev/null
    dd if=/dev/vda of=/tmp/read bs=64k count=8 iflag=direct 2>/dev/null
    cmp /tmp/block /tmp/read
}

gone() {
    for _ in $(seq 300); do
        [ ! -e $sys ] && [ ! -b /dev/vda ] && return 0
        usleep 100000
    done
    return 1
}

step list listed
step driver load
[ -b /dev/vda ] || exit
step features features
step work work
echo "GUEST: the card may be pulled"
step gone gone
