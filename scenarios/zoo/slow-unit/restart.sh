#!/bin/sh
set -eu
systemctl daemon-reload
systemctl restart ledger.service
