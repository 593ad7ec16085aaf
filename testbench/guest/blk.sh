# A disk's driver.

# Whether a driver has made the disk, within some seconds.
disk() {
    for _ in $(seq 100); do
        [ -b /dev/vda ] && return 0
        usleep 100000
    done
    return 1
}

load() {
    insmod /modules/virtio_blk.ko &
    disk
}
