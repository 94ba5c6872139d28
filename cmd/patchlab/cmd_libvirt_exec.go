package main

import (
	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/hypervisor/private"
)

// libvirtExec is the hidden command through which patchlab becomes the private libvirt.
const libvirtExec = "libvirt-exec"

func newLibvirtExecCommand() *cobra.Command {
	return &cobra.Command{
		Use:                libvirtExec,
		Short:              "Become the private libvirt, which patchlab starts by itself",
		Hidden:             true,
		DisableFlagParsing: true, // the arguments are private.Ensure's
		// No configuration of the user may keep it from starting.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE:              func(_ *cobra.Command, args []string) error { return private.Exec(args) },
	}
}
