#!/bin/sh
# What the administrator did after the installation: mail leaves encrypted, over the company's own relay.
set -eu
sed -i -e 's/^relay_host = .*/relay_host = relay.corp.example.org/' -e 's/^use_tls = .*/use_tls = required/' /etc/relayd.conf
