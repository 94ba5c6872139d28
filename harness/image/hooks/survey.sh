# Runs in the guest of an imported image, as its administrator, and says what it is like: KEY=VALUE lines.
set -u
say() { printf '%s=%s\n' "$1" "$2"; }

ID='' VERSION_CODENAME='' PRETTY_NAME=''
if [ -r /etc/os-release ]; then . /etc/os-release; fi
say id "$ID"
say codename "$VERSION_CODENAME"
say system "$PRETTY_NAME"
say init "$(cat /proc/1/comm)"
say systemd "$(systemctl --version 2>/dev/null | sed -n '1s/[^0-9]*\([0-9]*\).*/\1/p')"
say instance "$(cat /var/lib/cloud/data/instance-id 2>/dev/null)"
for comm in /proc/[0-9]*/comm; do
	if [ "$(cat "$comm" 2>/dev/null)" = qemu-ga ]; then say agent running; fi
done
if command -v dpkg-query >/dev/null; then
	say packager dpkg
	dpkg-query --show --showformat='package=${Package} ${Version}\n'
elif command -v rpm >/dev/null; then
	say packager rpm
	rpm --query --all --queryformat 'package=%{NAME} %{VERSION}-%{RELEASE}\n'
fi
if command -v apt-get >/dev/null; then say apt yes; fi
if [ -d /run/systemd/system ]; then
	systemctl list-units --type=service --state=running --plain --no-legend --full | sed -n 's/^\([^ ]*\) .*/service=\1/p'
	systemctl list-units --state=failed --plain --no-legend --full | sed -n 's/^\([^ ]*\) .*/failed=\1/p'
fi
