#!/bin/sh
# A hardening guide for another version of OpenSSH, followed without `sshd -t`.
set -eu
echo 'KbdInteractiveAuthentications no' >>/etc/ssh/sshd_config
