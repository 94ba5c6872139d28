#!/bin/sh
# The state of several cases before their patches: a server whose kernel belongs to rpm, as on Red Hat's and SUSE's, with the next
# kernel ready to be installed. Both are Debian's own, packed here. A kernel's package makes its initrd, and does not touch the boot
# loader: that is up to whoever installs it. Its scripts are in Lua, because no package of rpm's provides a shell here.
set -eu
export DEBIAN_FRONTEND=noninteractive
running=$(uname -r)
newest=$(ls /usr/lib/modules | sort -V | tail -n 1)
[ "$running" != "$newest" ] || { echo "there is no newer kernel than $running" >&2; exit 1; }

build=/root/rpmbuild
packages=/root/kernels
mkdir -p $packages
for kernel in "$running" "$newest"; do
  abi=${kernel#*-}
  cat >/root/kernel.spec <<SPEC
%define __os_install_post %{nil}
%define debug_package %{nil}
%define _build_id_links none
%define _binary_payload w.ufdio
Name: kernel
Version: ${kernel%%-*}
Release: ${abi%%-*}
Summary: The Linux kernel $kernel, as Debian built it
License: GPL-2.0
AutoReqProv: no
%description
The Linux kernel with its modules.
%install
mkdir -p %{buildroot}/boot %{buildroot}/usr/lib/modules
cp -al /boot/vmlinuz-$kernel /boot/config-$kernel /boot/System.map-$kernel %{buildroot}/boot/
cp -al /usr/lib/modules/$kernel %{buildroot}/usr/lib/modules/
rm -f %{buildroot}/usr/lib/modules/$kernel/modules.*.bin %{buildroot}/usr/lib/modules/$kernel/modules.dep
%files
/boot/*-$kernel
/usr/lib/modules/$kernel
%post -p <lua>
assert(os.execute("depmod $kernel && update-initramfs -c -k $kernel"))
%postun -p <lua>
os.execute("rm -rf /boot/initrd.img-$kernel /usr/lib/modules/$kernel")
SPEC
  rpmbuild -bb --define "_topdir $build" /root/kernel.spec
  mv $build/RPMS/*/kernel-*.rpm $packages/
  rm -rf $build
done
rm /root/kernel.spec

# From here on rpm alone looks after kernels.
echo 'linux-base linux-base/removing-running-kernel boolean false' | debconf-set-selections
dpkg-query -W -f '${Package}\n' 'linux-image-*' | xargs dpkg --purge
rpm --force-debian -i "$packages/kernel-$(echo "$running" | cut -d - -f 1-2).x86_64.rpm"
update-grub
