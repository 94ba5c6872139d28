package image

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/fake"
	"github.com/patchlab/patchlab/harness/mirror"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/timing"
)

// bench is a builder whose host programs are small shell scripts, on a fake hypervisor with a scripted guest.
type bench struct {
	*Builder
	driver *fake.Driver
	script *guesttest.Script
	events *eventLog
	dialed func() // is called before each attempt to reach the guest
}

// Dial makes an attempt to reach the guest.
func (b *bench) Dial(ctx context.Context) (guest.Conn, error) {
	b.dialed()
	return b.script.Dial(ctx)
}

const fakeMmdebstrap = `#!/bin/sh
set -eu
cd "$PATCHLAB_EXCHANGE"
echo "I: installing packages"
echo "Get: http://mirror.example/debian"
echo 'ssh-ed25519 AAAAC3Nz root@web' >host_key
printf 'nginx 1.22\nopenssl 3.0\n' >packages
echo kernel >vmlinuz
echo initrd >initrd.img
`

// fakeQEMUImg answers "convert ... FROM TO" with a disk, and "commit" with nothing.
const fakeQEMUImg = `#!/bin/sh
[ "$1" = convert ] || exit 0
for to; do :; done
echo "a disk" >"$to"
`

func newBench(t *testing.T) *bench {
	t.Helper()
	tools := t.TempDir()
	for name, text := range map[string]string{
		"mmdebstrap": fakeMmdebstrap, "qemu-img": fakeQEMUImg, "sfdisk": "#!/bin/sh\ncat >/dev/null\n",
		// Needs no privilege, unlike the real one.
		"unshare": "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$@\"\n",
	} {
		check(t, os.WriteFile(filepath.Join(tools, name), []byte(text), 0o755))
	}
	t.Setenv("PATH", tools+":"+os.Getenv("PATH"))

	b := &bench{driver: fake.New(), script: guesttest.NewScript(), events: &eventLog{}, dialed: func() {}}
	b.script.OnPrefix("sh -s", guesttest.Says("done\n"))
	b.script.OnPrefix(setupPath, guesttest.Says(""))
	b.script.OnPrefix("systemctl is-system-running", guesttest.Says("running\n"))
	b.script.OnPrefix("systemctl is-active", guesttest.Says("active\nactive\n"))
	b.script.On("systemctl poweroff", func(ctx context.Context, _ guest.Command) guest.Result {
		domains, err := b.driver.Domains(ctx)
		if err != nil || len(domains) != 1 {
			t.Errorf("domains %v, error %v", domains, err)
			return guest.Result{ExitCode: 1}
		}
		domain, err := b.driver.Lookup(ctx, domains[0].Name)
		if err == nil {
			err = domain.Destroy(ctx)
		}
		if err != nil {
			t.Error(err)
		}
		return guest.Result{}
	})
	b.Builder = &Builder{
		Store: &Store{Dir: t.TempDir()}, Driver: b.driver, Accelerator: hypervisor.TCG,
		Timeouts: timing.Default(), Sink: b.events, Now: time.Now,
		Mirror: func(context.Context) (mirror.Mirror, error) {
			return mirror.Mirror{Main: "http://mirror.example/debian"}, nil
		},
		NewKey: func() (Key, error) {
			return Key{AuthorizedKey: "ssh-ed25519 CLIENT", Dialer: func(_, hostKey string, _ io.Writer) (guest.Dialer, error) {
				if hostKey != "ssh-ed25519 AAAAC3Nz" {
					t.Errorf("the guest is dialled with the host key %q", hostKey)
				}
				return b, nil
			}}, nil
		},
		missing: func(bool) []string { return nil },
	}
	return b
}

func TestBuildPutsACheckedImageIntoTheStore(t *testing.T) {
	b := newBench(t)
	m := sample()
	m.SetupScript, m.Setup, m.Services = []byte("#!/bin/sh\n"), "setup.sh", []string{"nginx", "ssh"}
	built, err := b.Build(t.Context(), m, false)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := Open(t.Context(), b.Store, "web")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(built, opened); diff != "" {
		t.Errorf("image (-built +opened):\n%s", diff)
	}
	if want := map[string]string{"nginx": "1.22", "openssl": "3.0"}; !cmp.Equal(want, opened.Packages) {
		t.Errorf("packages %v, want %v", opened.Packages, want)
	}
	wantSteps := []string{"root file system", "disk", "first boot", "boot loader", "setup", "power off", "check", "store"}
	if diff := cmp.Diff(wantSteps, b.events.steps(progress.Done)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	b.wantClean(t)

	again, err := b.Build(t.Context(), m, false)
	if err != nil || again.Digest != built.Digest || len(b.events.steps(progress.Skipped)) != 1 {
		t.Errorf("a second build made %s, error %v, steps skipped %v", again.Digest, err, b.events.steps(progress.Skipped))
	}
	log, err := os.ReadFile(filepath.Join(b.Store.Dir, logsDir, "web", "build.log"))
	if err != nil || strings.Contains(string(log), "mirror.example") || !strings.Contains(string(log), mirror.AliasMain) {
		t.Errorf("the log names the mirror, or is missing (%v):\n%s", err, log)
	}
}

func TestAnEFIImageHasItsVariablesBesideTheDisk(t *testing.T) {
	b := newBench(t)
	var boots []hypervisor.Variables
	b.driver.OnStart = func(spec hypervisor.DomainSpec) error {
		boots = append(boots, spec.Variables)
		// The firmware writes at each boot; only the second finds the boot loader.
		return os.WriteFile(spec.Variables.Path, []byte(filepath.Base(spec.Variables.Path)), 0o600)
	}
	m := sample()
	m.Firmware = hypervisor.EFI
	built, err := b.Build(t.Context(), m, false)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := Open(t.Context(), b.Store, "web")
	if diff := cmp.Diff(built, opened); err != nil || diff != "" {
		t.Errorf("image (-built +opened), error %v:\n%s", err, diff)
	}
	if len(boots) != 2 || boots[0].From != "" || boots[1].From != "" {
		t.Errorf("the build booted with the variables %+v, want the firmware's own twice", boots)
	}
	if content, err := os.ReadFile(opened.Variables); err != nil || string(content) != "check.fd" {
		t.Errorf("the variables are %q (%v), want those of the boot that the loader was found in", content, err)
	}
	b.wantClean(t)

	other := opened
	other.VariablesSHA256 = strings.Repeat("0", 64)
	if other.digest() == opened.Digest {
		t.Error("the digest does not cover the variables")
	}
	for what, breakIt := range map[string]func() error{
		"changed": func() error { return os.WriteFile(opened.Variables, []byte("evil"), 0o644) },
		"removed": func() error { return os.Remove(opened.Variables) },
	} {
		check(t, breakIt())
		damaged := &DamagedError{}
		if _, err := Open(t.Context(), b.Store, "web"); !errors.As(err, &damaged) || damaged.Disk != opened.Variables {
			t.Errorf("variables that were %s: %v", what, err)
		}
	}
}

func TestAChangedManifestReplacesTheImageUnlessARunStandsOnIt(t *testing.T) {
	b := newBench(t)
	first, err := b.Build(t.Context(), sample(), false)
	check(t, err)
	release, err := b.Store.Hold(first)
	check(t, err)
	changed := sample()
	changed.Memory = 1024
	second, err := b.Build(t.Context(), changed, false)
	if err != nil || second.Digest == first.Digest {
		t.Fatalf("second image %s, error %v", second.Digest, err)
	}
	if all, err := b.Store.List(); err != nil || len(all) != 2 {
		t.Errorf("images %v, error %v, want the one in use and the new one", all, err)
	}
	check(t, release())
	changed.Memory = 2048
	if _, err := b.Build(t.Context(), changed, false); err != nil {
		t.Fatal(err)
	}
	if all, err := b.Store.List(); err != nil || len(all) != 1 {
		t.Errorf("images %v, error %v, want the newest alone", all, err)
	}
}

func TestARebuildMendsADamagedImage(t *testing.T) {
	b := newBench(t)
	first, err := b.Build(t.Context(), sample(), false)
	check(t, err)
	check(t, os.WriteFile(filepath.Join(filepath.Dir(first.Disk), recordFile), []byte("{"), 0o644))
	changed := sample()
	changed.Memory = 1024
	if _, err := b.Build(t.Context(), changed, false); err != nil {
		t.Fatal(err)
	}
	if all, err := b.Store.List(); err != nil || len(all) != 1 {
		t.Errorf("images %v, error %v, want the new one alone", all, err)
	}
}

func TestAFailedBuildIsGoneAndSaysWhy(t *testing.T) {
	for name, test := range map[string]struct {
		breakIt func(t *testing.T, b *bench)
		want    string
	}{
		"mirror unreachable": {
			func(t *testing.T, _ *bench) {
				t.Helper()
				replaceTool(t, "mmdebstrap", "#!/bin/sh\necho 'E: Failed to fetch http://mirror.example/debian/x  Connection refused' >&2\nexit 1\n")
			},
			"E: Failed to fetch http://debian.patchlab.invalid/debian/x  Connection refused",
		},
		"domain refused": {
			func(_ *testing.T, b *bench) { b.driver.FailNext(fake.Define, errors.New("no such machine")) },
			"no such machine",
		},
		"the boot loader cannot be installed": {
			func(_ *testing.T, b *bench) {
				b.script.OnPrefix("sh -s", guesttest.Exits(1, "", "grub-install: error: no disk\n"))
			},
			"installing the boot loader",
		},
		"QEMU killed from outside": {
			func(t *testing.T, b *bench) {
				t.Helper()
				b.script.Down()
				var name string
				b.driver.OnStart = func(spec hypervisor.DomainSpec) error {
					name = spec.Name
					return nil
				}
				b.dialed = func() { _ = b.driver.Kill(name) }
			},
			"domain ended",
		},
		"a unit failed": {
			func(_ *testing.T, b *bench) {
				b.script.OnPrefix("systemctl is-system-running", guesttest.Exits(1, "degraded\n", ""))
				b.script.OnPrefix("systemctl --failed", guesttest.Says("nginx.service loaded failed failed\n"))
			},
			"nginx.service loaded failed",
		},
		"a service is off": {
			func(_ *testing.T, b *bench) {
				b.script.OnPrefix("systemctl is-active", guesttest.Exits(3, "active\ninactive\n", ""))
			},
			"service ssh is inactive",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			test.breakIt(t, b)
			m := sample()
			m.Services = []string{"nginx", "ssh"}
			_, err := b.Build(t.Context(), m, false)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "mirror.example") {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if _, err := b.Store.Find("web"); !errors.Is(err, ErrNotBuilt) {
				t.Errorf("the store has half an image: %v", err)
			}
			b.wantClean(t)
		})
	}
}

func TestCtrlCEndsABuildAtOnceAndLeavesNothing(t *testing.T) {
	b := newBench(t)
	replaceTool(t, "mmdebstrap", "#!/bin/sh\necho 'I: installing packages'\nexec sleep 1000\n")
	ctx, cancel := context.WithCancel(t.Context())
	b.events.on = func(e progress.Event) {
		if e.Text == "installing packages" {
			cancel()
		}
	}
	_, err := b.Build(ctx, sample(), false)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want Canceled", err)
	}
	b.wantClean(t)
}

func TestPreflightNamesTheRemedy(t *testing.T) {
	for name, test := range map[string]struct {
		breakIt func(b *bench)
		want    string
	}{
		"programs": {
			func(b *bench) { b.missing = func(bool) []string { return []string{"mmdebstrap", "fdisk"} } },
			"apt-get install --no-install-recommends mmdebstrap fdisk",
		},
		"mirror": {
			func(b *bench) {
				b.Mirror = func(context.Context) (mirror.Mirror, error) { return mirror.Mirror{}, mirror.ErrNone }
			},
			mirror.ErrNone.Error(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			test.breakIt(b)
			_, err := b.Build(t.Context(), sample(), false)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if len(b.events.all) != 0 {
				t.Errorf("something was begun: %v", b.events.all)
			}
		})
	}
}

// wantClean fails if a build left a domain or a file outside the finished images and the log.
func (b *bench) wantClean(t *testing.T) {
	t.Helper()
	if domains, err := b.driver.Domains(t.Context()); err != nil || len(domains) != 0 {
		t.Errorf("domains are left: %v, error %v", domains, err)
	}
	entries, err := os.ReadDir(filepath.Join(b.Store.Dir, buildsDir))
	if err != nil || len(entries) != 1 || entries[0].Name() != "web.lock" {
		t.Errorf("left by the build: %v, error %v", entries, err)
	}
}

// replaceTool puts another program into the directory that newBench has put at the front of PATH.
func replaceTool(t *testing.T, name, text string) {
	t.Helper()
	check(t, os.WriteFile(filepath.Join(filepath.SplitList(os.Getenv("PATH"))[0], name), []byte(text), 0o755))
}

// eventLog keeps events. A build emits them one at a time.
type eventLog struct {
	all []progress.Event
	on  func(progress.Event)
}

// Emit keeps the event.
func (l *eventLog) Emit(event progress.Event) {
	l.all = append(l.all, event)
	if l.on != nil {
		l.on(event)
	}
}

func (l *eventLog) steps(kind progress.Kind) []string {
	var names []string
	for _, event := range l.all {
		if event.Kind == kind {
			names = append(names, event.Step)
		}
	}
	return slices.Clip(names)
}
