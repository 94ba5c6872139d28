#!/bin/sh
# As on any other package: the old version goes, the new one comes. The boot loader's menu still names the old kernel.
exec rpm --force-debian -Uvh "$(ls -v /root/kernels/*.rpm | tail -n 1)"
