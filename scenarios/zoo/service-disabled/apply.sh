#!/bin/sh
# What a maintainer script does that forgets to enable its unit again: the daemon runs on until the next boot.
set -eu
systemctl disable nginx.service
