package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/accel"
	"github.com/patchlab/patchlab/harness/doctor"
	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
	"github.com/patchlab/patchlab/harness/undo"
	"github.com/patchlab/patchlab/harness/verdict"
)

func newDoctorCommand(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "What this host can do, measured, and how to mend what it lacks",
		Long: `What this host can do, measured, and how to mend what it lacks. The accelerator is measured with a small guest that
counts down, emulated and under KVM; libvirt is asked for its version, and started for that if it is patchlab's own; and another
small guest is brought back to a checkpoint, to see that what came after it is undone.

Exit code 0 when everything is there that patchlab needs, else 1.`,
		Example: "  patchlab doctor\n  patchlab doctor --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.examine(cmd.Context(), env.host())
		},
	}
}

// host is the real host, seen through this environment.
func (e *environment) host() doctor.Host {
	host := doctor.ThisHost()
	host.Images, host.Runs = e.Dirs.Images, e.Dirs.Runs
	host.Foreign = e.Connect != ""
	host.Measure = func(ctx context.Context) (accel.Report, error) {
		return accel.Measure(ctx, accel.Options{CacheDir: e.Dirs.Cache, Fresh: true})
	}
	host.Connect = func(ctx context.Context) (version string, notes []string, err error) {
		opened, err := e.openHost(ctx, func(note string) { notes = append(notes, note) })
		if err != nil {
			return "", nil, err
		}
		defer func() { err = errors.Join(err, opened.Driver.Close()) }()
		version, err = opened.Driver.Version(ctx)
		return version, notes, err
	}
	host.Undo = func(ctx context.Context) (report undo.Report, err error) {
		opened, err := e.openHost(ctx, func(string) {}) // what there is to say, Connect has said
		if err != nil {
			return undo.Report{}, err
		}
		defer func() { err = errors.Join(err, opened.Driver.Close()) }()
		proof := e.proof(opened.Driver, opened.Accelerator)
		proof.Fresh = true
		return undo.Prove(ctx, proof)
	}
	if e.Connect != "" {
		e.look(&host)
	}
	return host
}

// look makes a host's checks those of the libvirt that the user has named.
func (e *environment) look(host *doctor.Host) {
	host.Machine, _ = libvirt.Reaches(e.Connect)
	connected := func(ctx context.Context, use func(*libvirt.Driver) error) (err error) {
		driver, err := libvirt.Connect(ctx, libvirt.Options{URI: e.Connect})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, driver.Close()) }()
		return use(driver)
	}
	host.Measure = func(ctx context.Context) (report accel.Report, err error) {
		err = connected(ctx, func(driver *libvirt.Driver) error {
			report, err = measureFor(ctx, driver, accel.Options{CacheDir: e.Dirs.Cache, Fresh: true})
			return err
		})
		return report, err
	}
	host.Connect = func(ctx context.Context) (version string, notes []string, err error) {
		err = connected(ctx, func(driver *libvirt.Driver) error {
			notes = append([]string{"at " + e.Connect}, driver.Describe()...)
			if err := driver.CheckReach(e.Dirs.Images, e.Dirs.Runs); err != nil {
				return err
			}
			version, err = driver.Version(ctx)
			return err
		})
		return version, notes, err
	}
}

// diagnosis is the result of `doctor`.
type diagnosis struct {
	Healthy bool           `json:"healthy"`
	Checks  []doctor.Check `json:"checks"`
	Install string         `json:"install,omitempty"` // the command that installs what is missing
}

func (e *environment) examine(ctx context.Context, host doctor.Host) error {
	checks := doctor.Examine(ctx, host)
	if ctx.Err() != nil {
		return fmt.Errorf("looking at this host: %w", context.Cause(ctx))
	}
	result := diagnosis{Healthy: doctor.Healthy(checks), Checks: checks, Install: doctor.Install(checks, host.Root)}
	if err := e.render(result, text(result.table())); err != nil {
		return err
	}
	if !result.Healthy {
		return &exitError{code: verdict.ExitInternal} // all was said in the table
	}
	return nil
}

func (d diagnosis) table() string {
	var b strings.Builder
	columns := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, check := range d.Checks {
		_, _ = fmt.Fprintf(columns, "%s\t%s\t%s\n", check.Status, check.Name, check.Detail) // a builder does not fail
		if check.Remedy != "" {
			_, _ = fmt.Fprintf(columns, "\t\t-> %s\n", check.Remedy)
		}
	}
	_ = columns.Flush()
	switch {
	case d.Install != "":
		fmt.Fprintf(&b, "\nInstall what is missing, then ask again:\n  %s\n", d.Install)
	case d.Healthy:
		b.WriteString("\nThis host can be a lab.\n")
	default:
		b.WriteString("\nThis host cannot be a lab yet: see the lines that begin with fail.\n")
	}
	return b.String()
}
