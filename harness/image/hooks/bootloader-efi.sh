# Runs in the guest at its first boot, where the disk is what it will always be. Nothing is written into the firmware's
# variables: it finds the loader by the path that it tries when no entry names another, so the disk boots elsewhere, too.
set -eu
mkfs.vfat -F 32 -n EFI /dev/vda1
echo "UUID=$(blkid --probe --match-tag UUID --output value /dev/vda1) /boot/efi vfat umask=0077 0 1" >>/etc/fstab
mkdir -p /boot/efi
systemctl daemon-reload
mount /boot/efi
# Updates of the boot loader do the same as grub-install below. The answer for a BIOS is of no use here.
debconf-set-selections <<SELECTIONS
grub-efi-amd64 grub2/force_efi_extra_removable boolean true
grub-efi-amd64 grub2/update_nvram boolean false
SELECTIONS
echo PURGE | debconf-communicate grub-pc
grub-install --target=x86_64-efi --efi-directory=/boot/efi --bootloader-id=debian --force-extra-removable --no-nvram
update-grub
