#!/bin/sh
# The configuration of another machine, whose card has another name. (The predictable name of this very card would do:
# udev gives it to the card as a second one.)
set -eu
sed -i 's/\beth0\b/enp3s0/' /etc/network/interfaces
