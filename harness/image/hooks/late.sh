# mmdebstrap's customize hook: the last to see the root directory $1. It leaves nothing of the host and of mmdebstrap in
# it, then writes it to the disk. Only here, in the build's namespaces, are owners and file capabilities right.
#
# PATCHLAB_EXCHANGE is the directory for what comes from and goes to patchlab; offsets are in bytes, sizes in KiB.
set -eu
root=$1
exchange=$PATCHLAB_EXCHANGE

rm -f "$root/etc/resolv.conf" "$root/etc/hostname" "$root/etc/hosts"
# After the packages, so that no file is in their way.
chroot "$root" tar --extract --same-permissions --file=- <"$exchange/late.tar"
chroot "$root" debconf-set-selections <<SELECTIONS
grub-pc grub-pc/install_devices multiselect /dev/vda
SELECTIONS
chroot "$root" usermod --lock root
# The keys that the package made carry the host's name.
rm -f "$root"/etc/ssh/ssh_host_*
for type in ed25519 ecdsa rsa; do
	chroot "$root" ssh-keygen -q -t "$type" -N '' -C "root@$(cat "$root/etc/hostname")" -f "/etc/ssh/ssh_host_${type}_key"
done

cat "$root/etc/ssh/ssh_host_ed25519_key.pub" >"$exchange/host_key"
chroot "$root" dpkg-query --show --showformat='${Package} ${Version}\n' >"$exchange/packages"
cat "$root/vmlinuz" >"$exchange/vmlinuz"
cat "$root/initrd.img" >"$exchange/initrd.img"

# mmdebstrap takes its stand-ins away too, but only after this hook.
rm -f "$root/usr/sbin/policy-rc.d"
if [ -e "$root/sbin/start-stop-daemon.REAL" ]; then
	mv "$root/sbin/start-stop-daemon.REAL" "$root/sbin/start-stop-daemon"
fi
rm -f "$root/etc/apt/apt.conf.d/00mmdebstrap" "$root/etc/apt/apt.conf.d/99mmdebstrap" \
	"$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap" "$root/var/lib/dbus/machine-id"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old \
	"$root/var/cache/ldconfig/aux-cache" "$root"/var/log/apt/* "$root"/var/log/*.log "$root"/var/tmp/* "$root"/tmp/* \
	"$root"/run/* "$root/root/.cache"
mkdir -p "$root/run/lock" "$root/var/cache/apt/archives/partial" "$root/var/lib/apt/lists/partial"
# Empty, not absent: the first boot writes a new one without being a "first boot" that presets every unit.
: >"$root/etc/machine-id"

# A bind mount that is not recursive shows the root without what mmdebstrap mounted into it. /dev is covered, because
# mmdebstrap's nodes in it are plain files in a user namespace, and /tmp, because the mount point lies there.
seen="$root/tmp/seen"
mkdir "$seen"
mount --bind "$root" "$seen"
mount -t tmpfs -o mode=0755 tmpfs "$seen/dev"
mount -t tmpfs -o mode=1777 tmpfs "$seen/tmp"
mke2fs -q -t ext4 -L root -U "$PATCHLAB_UUID" -E "offset=$PATCHLAB_OFFSET" -d "$seen" "$exchange/disk.raw" "${PATCHLAB_SIZE}k"
umount "$seen/tmp" "$seen/dev" "$seen"
rmdir "$seen"
