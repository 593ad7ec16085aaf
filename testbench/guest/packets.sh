#!/bin/busybox sh
# A work that is measured: 96 packets of 1024 bytes go to the station, and each comes back before the next.
. /card.sh
. /eth.sh

work() {
    # Nothing else is to be on the cable.
    echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
    up && ping -q -A -c 96 -s 982 $there
}

step list listed
step driver load
[ -e /sys/class/net/eth0 ] || exit
step features features
step work work
