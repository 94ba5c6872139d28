#!/bin/sh
# A unit that waits for a partner that never answers, and without which nobody is to log in.
set -eu
cat > /etc/systemd/system/ledger-sync.service <<'UNIT'
[Unit]
Description=Synchronise the ledger
Before=ssh.service systemd-user-sessions.service

[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/sleep infinity

[Install]
WantedBy=multi-user.target
UNIT
systemctl enable ledger-sync.service
