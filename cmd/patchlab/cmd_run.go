package main

import (
	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/scenario"
)

// runRequest is what `patchlab run` asks of the harness, once per scenario.
type runRequest struct {
	Scenario scenario.Scenario
	Connect  string        // libvirt URI, "" = private
	Keep     bool          // leave the guest running for a look
	Sink     progress.Sink // watches
}

func newRunCommand(_ *environment) *cobra.Command {
	return &cobra.Command{Use: "run SCENARIO..."}
}
