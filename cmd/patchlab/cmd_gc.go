package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/gc"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image"
)

func newGCCommand(env *environment) *cobra.Command {
	var kept bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove what runs left behind that were killed",
		Long: `Remove what runs and image builds left behind that were killed: domains, overlay disks, half-written files. What is
alive is not touched, and the evidence of dead runs stays.`,
		Example: "  patchlab gc",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return env.collect(cmd.Context(), kept) },
	}
	cmd.Flags().BoolVar(&kept, "kept", false, "also remove the guests that `run --keep` left running")
	return cmd
}

// collected is the result of `gc`.
type collected struct {
	gc.Swept
	Builds []string `json:"builds"` // images whose dead build left something
}

func (e *environment) collect(ctx context.Context, kept bool) (err error) {
	host, err := e.openHost(ctx, func(note string) { _, _ = fmt.Fprintln(e.Stderr, "patchlab:", note) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Driver.Close()) }()
	result := collected{Builds: []string{}}
	var failures [2]error
	result.Swept, failures[0] = gc.Sweep(ctx, gc.Options{
		Drivers: []hypervisor.Driver{host.Driver}, RunsDir: e.Dirs.Runs, Kept: kept,
	})
	if failures[0] == nil { // a domain that is left may be using a build's disk
		var builds []string
		builds, failures[1] = (&image.Store{Dir: e.Dirs.Images}).Sweep(ctx)
		result.Builds = append(result.Builds, builds...)
	}
	return errors.Join(e.render(result, text(result.table())), failures[0], failures[1])
}

func (c collected) table() string {
	var b strings.Builder
	for _, kind := range []struct {
		name  string
		items []string
	}{{"domain", c.Domains}, {"file", c.Files}, {"build", c.Builds}} {
		for _, item := range kind.items {
			fmt.Fprintf(&b, "removed %-6s  %s\n", kind.name, item)
		}
	}
	if b.Len() == 0 {
		b.WriteString("nothing to remove\n")
	}
	return b.String()
}
