# Runs in a clone that becomes a Vagrant box: makes the user by whom Vagrant gets in. See Vagrant's "Creating a Base Box".
set -eu
if ! command -v sudo >/dev/null; then
	echo "there is no sudo in the image, without which Vagrant can do nothing: put it among the packages" >&2
	exit 1
fi
if ! getent passwd vagrant >/dev/null; then
	useradd --create-home --shell /bin/bash vagrant
fi
home=$(getent passwd vagrant | cut -d: -f6)
mkdir -p "$home/.ssh"
# Vagrant's public key, whose private half everybody has. Vagrant replaces it when the box comes up first.
cat >"$home/.ssh/authorized_keys" <<'KEY'
ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltGEFHzD8+v1I2YJ6oXevct1YeS0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoPkcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSIFo9D8HfdOV0IAdx4O7PtixWKn5y2hMNG0zQPyUecp4pzC6kivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NOTd0jMZEnDkbUvxhMmBYSdETk1rRgm+R4LOzFUGaHqHDLKLX+FIPKcF96hrucXzcWyLbIbEgE98OHlnVYCzRdK8jlqm8tehUc9c9WhQ== vagrant insecure public key
KEY
chown -R vagrant: "$home/.ssh"
chmod 700 "$home/.ssh"
chmod 600 "$home/.ssh/authorized_keys"
echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/vagrant
chmod 440 /etc/sudoers.d/vagrant
