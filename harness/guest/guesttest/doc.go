// Package guesttest holds what tests of and with guests need: [RunConn], the conformance suite that every implementation of
// [guest.Conn] passes; [Script], a fake guest that answers from a script; and [Server], a real SSH server in this process.
package guesttest
