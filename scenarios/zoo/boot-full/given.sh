#!/bin/sh
# A small file system of its own at /boot, most of which somebody has filled long ago: 11 MB are left. It lies in a file, which the boot
# loader does not know of; it goes on with what is below, which is the same.
set -eu
truncate --size 64M /var/boot.ext4
mkfs.ext4 -q -m 0 /var/boot.ext4
mount -o loop /var/boot.ext4 /mnt
cp -a /boot/. /mnt/
left=$(df --output=avail -k /mnt | tail -n 1)
head -c "$(( (left - 11000) * 1024 ))" /dev/zero >/mnt/backup-of-2019.tar
umount /mnt
echo '/var/boot.ext4 /boot ext4 loop 0 0' >>/etc/fstab
