// Package sshclient connects to machines as the user's own ssh does: with ssh_config, known_hosts, keys and the agent.
//
// It never asks and never writes: a host key that known_hosts does not have is refused with the remedy, a key that needs a
// passphrase is used through the agent only.
package sshclient
