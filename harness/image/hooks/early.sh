# mmdebstrap's essential hook: runs when the root directory $1 has tar and no kernel yet. It puts in what the kernel
# package's first initial RAM disk must know, so that it is made once.
set -eu
chroot "$1" tar --extract --same-permissions --file=- <"$PATCHLAB_EXCHANGE/early.tar"
