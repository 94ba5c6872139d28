#!/bin/sh
# By hand, and it worked on that day.
set -eu
mkdir /run/ledger
systemctl daemon-reload
systemctl enable --now ledger.service
