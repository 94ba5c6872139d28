package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/accel"
	"github.com/patchlab/patchlab/harness/doctor"
	"github.com/patchlab/patchlab/harness/gc"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/undo"
	"github.com/patchlab/patchlab/harness/verdict"
)

// patient is a host that has all but the given programs.
func patient(missing ...string) doctor.Host {
	return doctor.Host{
		Root: true,
		Find: func(name string) (string, bool) {
			return "/usr/bin/" + name, !slices.Contains(missing, name)
		},
		Output:          func(context.Context, string, ...string) (string, error) { return "version 1.2.3", nil },
		Exists:          func(string) bool { return true },
		AvailableMemory: func() (uint64, error) { return 1 << 40, nil },
		FreeSpace:       func(string) (uint64, error) { return 1 << 40, nil },
		Firmware:        func() (string, error) { return "/firmware", nil },
		Measure: func(context.Context) (accel.Report, error) {
			return accel.Report{Best: hypervisor.TCG, KVMState: accel.KVMAbsent, Slowness: 6}, nil
		},
		Connect: func(context.Context) (string, []string, error) { return "libvirt 9.0.0", nil, nil },
		Undo:    func(context.Context) (undo.Report, error) { return undo.Report{Proven: true}, nil },
	}
}

func TestDoctorSaysInOneLineWhatToInstall(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	err := s.env.examine(t.Context(), patient("mmdebstrap", "qemu-img"))
	var exit *exitError
	if !errors.As(err, &exit) || exit.code != verdict.ExitInternal || exit.err != nil {
		t.Errorf("it ends with %v", err)
	}
	const want = "\n  apt-get install --no-install-recommends mmdebstrap qemu-utils\n"
	if out := s.stdout.String(); !strings.HasSuffix(out, want) || !strings.Contains(out, "fail  qemu-img") {
		t.Error(out)
	}
}

func TestDoctorOfAHealthyHost(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	s.env.Output = "json"
	if err := s.env.examine(t.Context(), patient()); err != nil {
		t.Fatal(err)
	}
	var got diagnosis
	if err := json.Unmarshal(s.stdout.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if !got.Healthy || got.Install != "" || len(got.Checks) == 0 {
		t.Errorf("%+v", got)
	}
}

func TestAnInterruptedDoctorSaysNothingAboutTheHost(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.env.examine(ctx, patient()); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
	if s.stdout.Len() != 0 {
		t.Error(s.stdout.String())
	}
}

func TestGCListsWhatItRemoved(t *testing.T) {
	t.Parallel()
	got := collected{
		Swept: gc.Swept{Domains: []string{"patchlab-1"}, Files: []string{"/runs/1/disk.qcow2"}}, Builds: []string{"debian-12-web"},
		Templates: []string{"debian-12-web/1e0e"},
	}.table()
	const want = "removed domain    patchlab-1\nremoved file      /runs/1/disk.qcow2\nremoved build     debian-12-web\n" +
		"removed template  debian-12-web/1e0e\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := (collected{}).table(); got != "nothing to remove\n" {
		t.Error(got)
	}
}
