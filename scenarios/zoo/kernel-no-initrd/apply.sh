#!/bin/sh
# A second kernel becomes the default one; nobody makes its initrd, so that update-grub writes an entry without.
set -eu
release=$(uname -r)
cp "/boot/vmlinuz-$release" /boot/vmlinuz-99.0.0-patched
cp "/boot/config-$release" /boot/config-99.0.0-patched
cp -a "/lib/modules/$release" /lib/modules/99.0.0-patched
update-grub
sync
