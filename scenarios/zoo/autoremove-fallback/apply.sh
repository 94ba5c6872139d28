#!/bin/sh
# What unattended-upgrades does with Remove-Unused-Kernel-Packages where APT's own protection of kernels was turned off.
set -eu
export DEBIAN_FRONTEND=noninteractive
running=$(uname -r)
for package in $(dpkg-query --show --showformat '${Package}\n' 'linux-image-[0-9]*'); do
  [ "$package" = "linux-image-$running" ] || apt-mark auto "$package"
done
apt-get --yes -o APT::Protect-Kernels=false autoremove --purge
