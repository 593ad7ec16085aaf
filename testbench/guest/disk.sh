#!/bin/busybox sh
# What the guest does with its disk.
. /card.sh
. /blk.sh

tree() {
    mkdir -p /tmp/tree/a/b/c
    cp -r /lib /modules /tmp/tree/a
    for n in 1 2 3 4 5 6 7 8; do
        dd if=/dev/urandom of=/tmp/tree/a/b/c/$n bs=1k count=$((n * 37)) 2>/dev/null
    done
    (cd /tmp/tree && find . -type f | sort | xargs sha256sum) >/tmp/sums
}

copy() { cp -r /tmp/tree /mnt/ && sync; }

same() { echo 3 >/proc/sys/vm/drop_caches; (cd /mnt/tree && sha256sum -c -s /tmp/sums); }

# Blocks at drawn places, past the page cache, in any order; the same in memory; both must agree.
random_io() {
    dd if=/dev/urandom of=/tmp/random bs=4k count=256 2>/dev/null
    cp /tmp/random /mnt/random && sync
    for _ in $(seq 48); do
        to=$((RANDOM % 256))
        from=$((RANDOM % 256))
        dd if=/tmp/random of=/tmp/block bs=4k skip=$from count=1 2>/dev/null
        dd if=/tmp/block of=/tmp/random bs=4k seek=$to conv=notrunc 2>/dev/null
        dd if=/tmp/block of=/mnt/random bs=4k seek=$to conv=notrunc oflag=direct 2>/dev/null || return 1
    done
    sync
    echo 3 >/proc/sys/vm/drop_caches
    cmp /tmp/random /mnt/random
}

remount() { umount /mnt && mount -t ext4 /dev/vda /mnt; }

rebind() {
    unbind
    [ ! -b /dev/vda ] && bind && disk
}

# Nobody drives the card while it is reset.
reset() {
    unbind
    echo 1 >$sys/reset && bind && disk
}

# As if it were pulled from below its root port, and found again.
replug() {
    echo 1 >$sys/remove
    [ ! -e $sys ] && echo 1 >/sys/bus/pci/rescan && disk
}

step list listed
step iommu-group group
step driver load
[ -b /dev/vda ] || exit
step features features
step mkfs mkfs.ext4 -q /dev/vda
step mount mount -t ext4 /dev/vda /mnt
tree
step copy copy
step compare same
step random-io random_io
step remount remount
step compare-again same
umount /mnt
step rebind rebind
step mount-after-rebind mount -t ext4 /dev/vda /mnt
step compare-after-rebind same
umount /mnt
step reset reset
step mount-after-reset mount -t ext4 /dev/vda /mnt
step compare-after-reset same
umount /mnt
step replug replug
step mount-after-replug mount -t ext4 /dev/vda /mnt
step compare-after-replug same
umount /mnt
