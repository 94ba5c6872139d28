#!/bin/sh
# The new kernel comes beside the old one, and nobody tells the boot loader.
exec rpm --force-debian -ivh "$(ls -v /root/kernels/*.rpm | tail -n 1)"
