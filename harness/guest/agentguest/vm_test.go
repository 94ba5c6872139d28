//go:build vmtest

package agentguest_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/dirs"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/agentguest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/guest/keptguest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/libvirt"
	"github.com/patchlab/patchlab/harness/probe"
)

// connect is the libvirt of the kept guest: the one that a run would use.
func connect(t *testing.T) string {
	t.Helper()
	if uri := os.Getenv("PATCHLAB_CONNECT"); uri != "" {
		return uri
	}
	found, err := dirs.Find(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	return "qemu:///session?socket=" + filepath.Join(found.Runtime, "run", "libvirt", "libvirt-sock")
}

// kept reaches the guest of a run that was kept. Without one the test fails: it has tested nothing.
func kept(t *testing.T) *agentguest.Dialer {
	t.Helper()
	run := os.Getenv(keptguest.Variable)
	if run == "" {
		t.Fatalf("no guest: keep one with `patchlab run --keep SCENARIO`, and name its run directory in %s", keptguest.Variable)
	}
	driver, err := libvirt.Connect(t.Context(), libvirt.Options{URI: connect(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := driver.Close(); err != nil {
			t.Error(err)
		}
	})
	domain, err := driver.Lookup(t.Context(), "patchlab-"+filepath.Base(run)+"-run")
	if err != nil {
		t.Fatal(err)
	}
	agent, ok := domain.(hypervisor.AgentCaller)
	if !ok {
		t.Fatal("the domain carries no commands to an agent")
	}
	return agentguest.New(agentguest.Config{Agent: agent, CommandLog: t.Output()})
}

func TestConformanceOfARealAgent(t *testing.T) {
	guesttest.RunConn(t, func(t *testing.T) guesttest.Subject {
		t.Helper()
		dialer := kept(t)
		conn, err := dialer.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		const dir = "/run/agentguest-test"
		if _, err := conn.Run(t.Context(), guest.Command{Line: "mkdir -p " + dir}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_, _ = conn.Run(context.WithoutCancel(t.Context()), guest.Command{Line: "rm -r " + dir})
		})
		return guesttest.Subject{Dialer: dialer, Dir: dir, User: "www-data", WithoutPorts: true, WholeInput: true}
	})
}

// TestFactsOverTheAgent reads the guest as a run does, and tells what that costs.
func TestFactsOverTheAgent(t *testing.T) {
	conn, err := kept(t).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := probe.Install(ctx, conn); err != nil {
		t.Fatal(err)
	}
	document, err := probe.Facts(ctx, conn, conn, nil)
	if err != nil || document.Facts.Len() < 1000 {
		t.Fatalf("%d facts (%v)", document.Facts.Len(), err)
	}
	journal, err := conn.Run(ctx, guest.Command{Line: "journalctl --boot --no-pager --lines=5000"})
	if err != nil || bytes.Count(journal.Stdout, []byte("\n")) < 100 {
		t.Errorf("the journal is %q (%v)", journal.Stdout, err)
	}
}
