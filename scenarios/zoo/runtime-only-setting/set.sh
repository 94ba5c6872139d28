#!/bin/sh
set -eu
sysctl -w net.core.somaxconn=8192
link=$(ip -4 -o route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)
[ -n "$link" ] || link=$(ip -4 -o address show scope global | awk '{print $2; exit}')
ip address add 192.0.2.10/24 dev "$link"
