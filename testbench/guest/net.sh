#!/bin/bash
# What the guest does with its network interface: the station at the cable's far end is asked.
# Only bash speaks UDP.
. /card.sh
. /eth.sh

# Short ones, and the longest that need no fragments.
pings() { ping -q -A -c 20 -s 8 $there && ping -q -A -c 20 -s 1472 $there; }

# Datagrams of drawn contents and lengths, up to the longest, four on their way at a time; each must come
# back as it was, in its place.
datagrams() {
    exec 3<>/dev/udp/$there/7
    for n in $(seq 12); do
        for k in 1 2 3 4; do
            length=$((1 + (n * 397 + k * 911) % 1472))
            [ $n$k = 11 ] && length=1472
            dd if=/dev/urandom of=/tmp/sent$k bs=$length count=1 2>/dev/null
            cat /tmp/sent$k >&3
        done
        for k in 1 2 3 4; do
            timeout 10 dd bs=2048 count=1 of=/tmp/came <&3 2>/dev/null && cmp /tmp/sent$k /tmp/came || return 1
        done
    done
    exec 3>&-
}

# Nothing is lost, nothing is bad.
clean() {
    for counter in rx_errors tx_errors rx_dropped tx_dropped; do
        count=$(cat /sys/class/net/eth0/statistics/$counter)
        echo "GUEST: $counter $count"
        [ "$count" = 0 ] || return 1
    done
}

rebind() {
    unbind
    [ ! -e /sys/class/net/eth0 ] && bind && interface && up
}

# Nobody drives the card while it is reset.
reset() {
    unbind
    echo 1 >$sys/reset && bind && interface && up
}

step list listed
step iommu-group group
step driver load
[ -e /sys/class/net/eth0 ] || exit
step features features
step up up
step resolve resolve
step ping pings
step datagrams datagrams
step clean clean
step rebind rebind
step ping-after-rebind pings
step reset reset
step datagrams-after-reset datagrams
step clean-after-reset clean
