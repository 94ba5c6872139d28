#!/bin/sh
# A line that nginx does not understand. The daemon runs on with what it has read before.
set -eu
echo 'gzip_static_levels 9;' > /etc/nginx/conf.d/50-compression.conf
