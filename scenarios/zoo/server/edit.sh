#!/bin/sh
# The server of several cases before their patches, as its administrator left it: three packages, of which one is off
# (statusd), one is configured (mail leaves encrypted, over the company's own relay), and one is as it came.
set -eu
sed -i -e 's/^relay_host = .*/relay_host = relay.corp.example.org/' -e 's/^use_tls = .*/use_tls = required/' /etc/relayd.conf
