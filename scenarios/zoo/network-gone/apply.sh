#!/bin/sh
# The migration to predictable interface names that an upgrade guide asks for, on a machine booted with net.ifnames=0.
set -eu
sed -i 's/\beth0\b/enp0s16/' /etc/network/interfaces
