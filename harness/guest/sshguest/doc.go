// Package sshguest reaches a guest over SSH and SFTP: it implements [guest.Dialer], [guest.Conn] and [guest.Listener].
//
// One connection carries everything: each command and each forwarded port is a channel of it, and files go over one SFTP
// channel that is opened when first needed. A connection is expensive for an emulated guest, a channel is cheap. Measured
// against Debian 12 under TCG on an otherwise idle host (one vCPU qemu64, OpenSSH 9.2, medians of two to four runs):
//
//	connect 0.55 s, first command 0.57 s (the login: PAM starts a user manager), each further command 0.10 s
//	first SFTP channel 0.12 s, then a Put of 3 MB:
//	  chacha20-poly1305 0.80 s, aes128-ctr with hmac-sha2-256-etm 0.97 s, aes128-gcm 1.12 s
//	key exchange: curve25519 0.40 s, nistp256 0.38 s, group14 0.38 s
//
// An emulated processor has no AES instructions, so chacha20-poly1305 is asked for first. The key exchanges do not differ
// by more than the noise; curve25519 goes first, because it spares guests with a newer OpenSSH the larger ML-KEM exchange,
// whose protection against tomorrow's computers is worth nothing on a loopback port. Everything else that x/crypto/ssh
// holds to be safe is offered behind these, for guests whose sshd is configured more narrowly.
package sshguest
