#!/bin/sh
# A unit that reboots the machine early, as one does that waits for a licence, a firmware update or a new label of all files.
set -eu
cat > /etc/systemd/system/self-heal.service <<'UNIT'
[Unit]
Description=Start again until the licence is there
DefaultDependencies=no
After=sysinit.target
Before=basic.target
ConditionPathExists=!/etc/licence

[Service]
Type=oneshot
ExecStart=/bin/systemctl --force reboot

[Install]
WantedBy=sysinit.target
UNIT
systemctl enable self-heal.service
