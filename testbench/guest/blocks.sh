#!/bin/busybox sh
# A work that is measured: blocks are written and read again, past the page cache, four at a time.
. /card.sh
. /blk.sh

put() { dd if=/tmp/block of=/dev/vda bs=4k count=12 seek=$((12 * $1)) oflag=direct 2>/dev/null; }

get() { dd if=/dev/vda of=/tmp/read$1 bs=4k count=12 skip=$((12 * $1)) iflag=direct 2>/dev/null; }

work() {
    dd if=/dev/urandom of=/tmp/block bs=4k count=12 2>/dev/null
    for n in 0 1 2 3; do put $n & done
    wait
    for n in 0 1 2 3; do get $n & done
    wait
    for n in 0 1 2 3; do cmp /tmp/block /tmp/read$n || return 1; done
}

step list listed
step driver load
[ -b /dev/vda ] || exit
step features features
step work work
