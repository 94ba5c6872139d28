// Package agentguest reaches a guest over the QEMU guest agent: it implements [guest.Dialer] and [guest.Conn] without any
// network or sshd in the guest, so that one can still look into a guest that has locked everybody out.
//
// The agent starts programs and opens files, a command at a time, in JSON over a virtual serial port. That makes it slower
// than ssh and poorer: nothing can be dialled or listened on, a command's input is complete before it begins, and its output
// comes when it has ended. It is a way to gather evidence, not to run a test suite.
//
// The agent is a program of the guest: its answers are bounded, checked against what was asked, and believed no further.
package agentguest
