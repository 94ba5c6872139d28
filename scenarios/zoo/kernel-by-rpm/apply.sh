#!/bin/sh
# The new kernel comes beside the old one, with an initrd of its own, and the boot loader's menu is made anew.
set -e
rpm --force-debian -ivh "$(ls -v /root/kernels/*.rpm | tail -n 1)"
update-grub
