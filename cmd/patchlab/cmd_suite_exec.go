package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/handoff"
	"github.com/patchlab/patchlab/harness/suite"
	"github.com/patchlab/patchlab/suites"
)

// newSuiteExecCommand is the process in which the suites of one phase run. patchlab starts it by itself.
func newSuiteExecCommand() *cobra.Command {
	return &cobra.Command{
		Use:    suite.ExecCommand,
		Short:  "Run suites for patchlab run, in a process of their own",
		Hidden: true,
		Args:   cobra.NoArgs,
		// All it needs is in the handoff: no configuration of this host changes what a suite sees.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE: func(*cobra.Command, []string) error {
			if err := suites.Exec(); err != nil {
				return fmt.Errorf("running the suites of %s: %w", handoff.Env, err)
			}
			return nil
		},
	}
}
