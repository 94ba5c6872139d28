// Package image builds guests' images from manifests and keeps them in a store whose content is checked.
//
// # How an image is built
//
// mmdebstrap installs the packages into a root directory. It runs in mount and process namespaces of its own, and for an
// ordinary user in a user namespace too, so that nothing of it outlives a build that is killed. The hooks in hooks/ put
// patchlab's and the manifest's files in, take away what the host left and write the root to the disk's only partition,
// from inside the namespaces, where owners and file capabilities are right. The disk is then booted once with its kernel
// handed to the hypervisor, because grub-install and update-grub need to see the real disk; the manifest's setup runs in the
// same boot. A second boot, on an overlay that is thrown away, proves that the image comes up by its own boot loader with all
// its services. Last the disk is hashed and moved into the store by one rename.
//
// Two cores without KVM, otherwise idle, need 140 to 200 s: root file system 35 to 49, first boot 32 to 44, boot loader 17
// to 27, check 45 to 62, all else 15.
//
// A guest with EFI firmware differs in its disk (GPT, a system partition before the root, see layoutOf) and its boot loader. The
// kernel handed over starts there as well; the firmware's variables begin empty, and those of the second boot, in which the
// firmware has found the loader, become the image's.
//
// # How a disk from elsewhere becomes one
//
// A qcow2 file is copied, looked at (its header before any program of QEMU's opens it: it could name other files of the
// host), checked and flattened. Its guest is then booted with every way in at hand, see [Way], and the first that it takes is kept
// in [Access]. That boot becomes part of the image: what a guest does only once is not done by each clone anew; patchlab's key
// is taken out again, and so are the stamps of the timers. A second boot, on an overlay that is thrown away and reached the way every
// clone will be, tells what the guest is like and what runs on it will miss ([Imported.Lacks]).
//
// cloud-init takes a machine without its CD, or under another instance id, for a new one: host keys, users and package sources
// would be set up anew. So every clone of an image whose cloud-init has taken the seed brings a seed with the same id, on
// which only the key differs. The key is written by bootcmd, which unlike the rest runs at every boot.
//
// # What a guest is like
//
// It is Debian as Debian has it, timers and man-db included, but for these differences:
//   - The initial RAM disk holds four modules instead of hundreds (6 MB instead of 30 MB): unpacking it is most of the
//     kernel's part of a boot under emulation.
//   - The kernel is not "quiet" and the first serial port is the console: the console log is evidence of how far a boot came.
//   - Package sources and mirrors appear by the aliases of package mirror.
//   - Nobody has a password. A clone's key comes as a systemd credential, and is not in the image.
//   - The time stamps of systemd's timers are removed at the end. A persistent timer whose stamp says that a run was
//     missed starts within the hour after a boot: an image built yesterday would rotate logs or start
//     apt-daily-upgrade in the middle of a baseline. Without a stamp a timer counts from the clone's first boot.
//     apt-daily finds nothing to do: APT::Periodic is not configured and unattended-upgrades is not installed.
package image
