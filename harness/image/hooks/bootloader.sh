# Runs in the guest at its first boot, where the disk is what it will always be.
set -eu
grub-install /dev/vda
update-grub
