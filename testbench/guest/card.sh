# What every work begins with. Each step says "ok" or "FAILED"; whoever started the guest counts.
card=0000:01:00.0
sys=/sys/bus/pci/devices/$card

step() {
    name=$1
    shift
    if "$@"; then echo "GUEST: ok $name"; else echo "GUEST: FAILED $name"; fi
}

listed() {
    [ "$(cat $sys/vendor)" = 0x1af4 ] && [ -e $sys/virtio0 ] || [ -n "$(ls $sys | grep virtio)" ]
}

# VIRTIO_F_VERSION_1 and VIRTIO_F_ACCESS_PLATFORM: bits 32 and 33.
features() {
    features=$(cat $sys/virtio*/features)
    echo "GUEST: features $features"
    [ "$(echo "$features" | cut -c33-34)" = 11 ]
}

group() {
    echo "GUEST: IOMMU group $(basename "$(readlink -f $sys/iommu_group)")"
    [ -e $sys/iommu_group ]
}

unbind() { echo $card >/sys/bus/pci/drivers/virtio-pci/unbind; }

bind() { echo $card >/sys/bus/pci/drivers/virtio-pci/bind; }
