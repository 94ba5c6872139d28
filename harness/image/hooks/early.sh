# mmdebstrap's essential hook: runs when the root directory $1 has tar and no kernel yet. It puts in what the kernel
# package's first initial RAM disk must know, so that it is made once. Descriptor 3 is the exchange directory.
set -eu
chroot "$1" tar --extract --same-permissions --file=- </proc/self/fd/3/early.tar
