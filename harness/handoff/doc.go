// Package handoff is what the harness hands to a suite process, and how that process reaches the guest.
//
// Suites run in a process of their own: ginkgo's spec tree, signal handlers and RunSpecs are global, and a crashing suite must
// not take the run with it. The process finds a file by the environment variable [Env]: what phase it is, the facts, the
// drifts, the expectations ([Handoff]). The guest stays with the harness, which holds the one ssh connection (a handshake
// costs seconds under emulation) and serves it on a socket ([Serve]); [Dial] makes a guest.Conn of that socket.
//
// # The protocol on the socket
//
// One request takes one connection. The client writes a line of JSON (request), then both sides exchange frames: a byte
// for the kind, four bytes (big endian) for the length, the payload. The server asks for each piece of a command's standard
// input or of a file's content with a "next" frame, so that nothing is read that nobody wants, and so that it
// always sees when the client is gone. The last frame is the reply. After the reply to a dial request, the
// connection carries the raw bytes. Closing the connection cancels the request.
//
// The socket has a random name in Linux's abstract namespace: it leaves no file behind, whatever kills its owner. Such
// a name has no permissions, so both ends accept only a peer that runs as the same user.
package handoff
