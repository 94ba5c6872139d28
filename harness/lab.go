package harness

import (
	"context"
	"io"
	"time"

	"github.com/patchlab/patchlab/harness/accel"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/handoff"
	"github.com/patchlab/patchlab/harness/helper"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/mirror"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/suite"
	"github.com/patchlab/patchlab/harness/timing"
	"github.com/patchlab/patchlab/harness/undo"
)

// Lab is everything that runs share: where domains come from, how guests are reached, where evidence goes.
type Lab struct {
	// Host opens the hypervisor. It is asked within the run, so that a host without one becomes evidence like any other
	// fault of the lab.
	Host func(ctx context.Context) (Host, error)
	// Image opens a verified image by its name, and holds it until it is released: nobody may take a disk away from
	// under its clones.
	Image func(ctx context.Context, name string) (opened image.Image, release func() error, err error)
	// NewAccess makes a key, or takes one that is there (in PEM form) or the image's own, and the way to connect with it.
	NewAccess func(way image.Access, privateKey []byte) (Access, error)
	// Agent makes the way to a guest over its agent, which needs neither network nor ssh; commands are recorded in log.
	Agent func(agent hypervisor.AgentCaller, log io.Writer) guest.Dialer
	// Mirror finds the host's package mirror; it is asked only when an increment needs packages.
	Mirror func(ctx context.Context) (mirror.Mirror, error)
	Suites Suites
	// DiskFiles reads the files of an image from its disk, of which it may put a raw copy at the path scratch; nil where the guest
	// is to tell. What it cannot read the guest tells, too.
	DiskFiles func(ctx context.Context, of image.Image, scratch string) (*probe.Files, error)
	// Kit makes what helper domains boot, of the disk of an image, of which it may put a raw copy at the path scratch; nil where
	// there are none, and dead guests keep what is on their disks to themselves.
	Kit func(ctx context.Context, of image.Image, scratch string) (helper.Content, error)
	// Memory is what clones may have together; nil where nobody knows.
	Memory *Memory

	// Share tells which part of a processor a guest can have just now, above 0 and at most 1; nil where nobody knows. A guest of
	// which little is heard on a host that has too much to do does not hang.
	Share func() float64

	Timeouts timing.Timeouts // for KVM
	RunsDir  string
	CacheDir string
	Now      func() time.Time
}

func (l Lab) share() float64 {
	if l.Share == nil {
		return 1
	}
	return l.Share()
}

// Host is the hypervisor, and how fast its guests are.
type Host struct {
	Driver      hypervisor.Driver
	Accelerator accel.Report
	// Undo tells whether it was proven that a revert undoes here what came after its checkpoint. It may take some seconds. Without
	// it, nothing is.
	Undo func(ctx context.Context) (undo.Report, error)
}

// Suites runs ginkgo suites against a guest, in a process of their own.
type Suites interface {
	Run(ctx context.Context, handoff handoff.Handoff, conn guest.Conn, evidence string) (suite.Report, error)
}

// Access is the key of a clone, or of all that go on from one template.
type Access struct {
	// AuthorizedKey is handed to the guest.
	AuthorizedKey string
	// PrivateKey in PEM form, for a guest that is kept.
	PrivateKey []byte
	// Dialer connects to the guest; commands are recorded in log.
	Dialer func(address, hostKey string, log io.Writer) (guest.Dialer, error)
}

// RunOptions are a person's choices for one run, beside the scenario.
type RunOptions struct {
	Sink progress.Sink
	// Keep leaves the guest running when the run is over.
	Keep bool
	// Cold boots every clone, also where one could go on from a template.
	Cold bool
}

// bounds are patchlab's timeouts with the scenario's own in their place, scaled by the measured speed of the guests: both
// are written for KVM.
func bounds(ours timing.Timeouts, own scenario.Timeouts, slowness float64) timing.Timeouts {
	if own.Boot > 0 {
		ours.Boot = own.Boot
	}
	if own.Apply > 0 {
		ours.Apply = own.Apply
	}
	return ours.Scaled(slowness)
}
