#!/bin/sh
# Runs once as root in the guest's first boot.
set -eu

# An administrator as on a real server: may use sudo, has no password, so that only a key lets in.
adduser --quiet --disabled-password --gecos Operator ops
adduser --quiet ops sudo

# nginx could not start before: its TLS configuration names a key that is made here.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 3650 -subj /CN=web \
	-keyout /etc/ssl/private/web.key -out /etc/ssl/certs/web.pem
chmod 0600 /etc/ssl/private/web.key
nginx -t
systemctl restart nginx

systemctl enable --now echo.socket
