package bench_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/bench"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/timing"
)

// The programs of a person, as far as they matter here. Each notes how it was called.
const (
	fakeVirsh = `echo "virsh $*" >>"$0.calls"
case "$*" in *"info usernet"*) echo " TCP[HOST_FORWARD]  23  127.0.0.1 43117  10.0.2.15  22  0  0" ;; esac
`
	fakeQEMUImg = `echo "qemu-img $*" >>"$(dirname "$0")/virsh.calls"
for last; do :; done
echo disk >"$last"
`
	fakeSCP = `echo "scp $*" >>"$(dirname "$0")/virsh.calls"
`
	// fakeSSH is a guest with a boot id. After a reboot it answers once more with the old one.
	fakeSSH = `cd "$(dirname "$0")"
echo "ssh $*" >>virsh.calls
case "$*" in
  *boot_id*) if [ -e new ]; then echo second; elif [ -e asked ]; then mv asked new; echo first; else echo first; fi ;;
  *"systemctl reboot"*) touch asked; exit 255 ;;
esac
`
)

// bed is a directory of fake programs, the work that they are to do, and what was called.
type bed struct {
	dir  string
	hand bench.Hand
}

// newBed takes programs to use in place of those above, by their names.
func newBed(t *testing.T, programs map[string]string) *bed {
	t.Helper()
	b := &bed{dir: t.TempDir()}
	run := filepath.Join(b.dir, "r1")
	if err := os.MkdirAll(bench.PackagesDir(run), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{"virsh": fakeVirsh, "qemu-img": fakeQEMUImg, "scp": fakeSCP, "ssh": fakeSSH} {
		if own, ok := programs[name]; ok {
			script = own
		}
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", b.dir+":"+os.Getenv("PATH"))
	found, err := bench.FindPrograms()
	if err != nil {
		t.Fatal(err)
	}
	spec := bench.HandSpec(hypervisor.DomainSpec{
		Firmware: hypervisor.BIOS, Disk: hypervisor.Disk{Backing: "/images/web/disk.qcow2"},
	}, run)
	b.hand = bench.Hand{
		Programs: found,
		Domain:   bench.Domain{Spec: spec, URI: "qemu:///session", XML: "<domain/>", UID: -1, GID: -1},
		Login:    bench.Login{PrivateKey: []byte("key"), HostKey: "ssh-ed25519 AAAA"},
		Candidate: bench.Candidate{
			Increments: []bench.Increment{
				{Name: "openssl", Packages: []string{"/p/libssl3_2_amd64.deb", "/p/openssl_2_amd64.deb"}, Restart: []string{"init.scope", "nginx.service", "ssh.service"}},
				{Name: "nginx", Packages: []string{"/p/nginx_2_amd64.deb"}},
			},
			Force: []string{"--force-confold"}, Check: "systemctl is-active nginx", Reboots: 1,
		},
		Dir: run, Bounds: timing.Default(), Sink: progress.Discard{}, Now: time.Now, Every: time.Millisecond,
	}
	return b
}

// calls are the programs' arguments with the paths of this test left out.
func (b *bed) calls(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(b.dir, "virsh.calls"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	short := strings.NewReplacer(b.hand.Dir+"/", "", "-F by-hand.ssh_config ", "", "-q -c qemu:///session ", "", "patchlab-r1-by-hand", "DOMAIN")
	return slices.Collect(strings.SplitSeq(strings.TrimSpace(short.Replace(short.Replace(string(content)))), "\n"))
}

// left are the files in the run's directory.
func (b *bed) left(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(b.hand.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// evidence is what stays.
var evidence = []string{"by-hand-console.log", "by-hand.log", "by-hand.xml"}

func TestByHandEverythingIsDoneWithPlainPrograms(t *testing.T) {
	b := newBed(t, nil)
	b.hand.Scenario, b.hand.Sink = "web", onStart{"by hand: boot", func(run string) {
		if run != "web" {
			t.Errorf("those who watch see it as %q, another one than patchlab's side", run)
		}
	}}
	times, err := b.hand.Do(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"qemu-img create -q -f qcow2 -F qcow2 -b /images/web/disk.qcow2 by-hand.qcow2",
		"virsh define by-hand.xml",
		"virsh start DOMAIN",
		"virsh qemu-monitor-command --hmp DOMAIN info usernet",
		"ssh guest cat /proc/sys/kernel/random/boot_id",
		"scp -q /p/libssl3_2_amd64.deb /p/openssl_2_amd64.deb guest:/var/tmp/",
		"ssh guest DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i /var/tmp/libssl3_2_amd64.deb /var/tmp/openssl_2_amd64.deb",
		"ssh guest systemctl daemon-reexec && systemctl restart -- 'nginx.service' 'ssh.service'",
		"scp -q /p/nginx_2_amd64.deb guest:/var/tmp/",
		"ssh guest DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i /var/tmp/nginx_2_amd64.deb",
		"ssh guest systemctl is-active nginx",
		"ssh guest systemctl reboot",
		"ssh guest cat /proc/sys/kernel/random/boot_id", // still the old boot
		"ssh guest cat /proc/sys/kernel/random/boot_id",
		"ssh guest systemctl is-active nginx",
		"virsh destroy DOMAIN",
		"virsh undefine DOMAIN",
	}
	if diff := cmp.Diff(want, b.calls(t)); diff != "" {
		t.Error(diff)
	}
	var steps []string
	for _, one := range times {
		steps = append(steps, strings.TrimSpace(one.Step+" "+one.Increment))
		if one.Seconds <= 0 {
			t.Errorf("%s took no time", one.Step)
		}
	}
	wantSteps := []string{
		"define", "boot", "copy openssl", "install openssl", "restart openssl", "copy nginx", "install nginx", "check", "reboot", "check", "teardown",
	}
	if diff := cmp.Diff(wantSteps, steps); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(evidence, b.left(t)); diff != "" {
		t.Errorf("left: %s", diff)
	}
}

func TestByHandTheGuestIsReachedAtThePortThatQEMUNames(t *testing.T) {
	b := newBed(t, map[string]string{"scp": `cp "$3" "$(dirname "$0")/config"` + "\n"})
	if _, err := b.hand.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(b.dir, "config"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"HostName 127.0.0.1\n", "Port 43117\n", "StrictHostKeyChecking yes\n", `IdentityFile "` + b.hand.Dir} {
		if !strings.Contains(string(config), want) {
			t.Errorf("no %q in\n%s", want, config)
		}
	}
}

func TestByHandNothingIsLeftAfterAFailure(t *testing.T) {
	failing := func(program, on string) map[string]string {
		script := map[string]string{"virsh": fakeVirsh, "ssh": fakeSSH, "scp": fakeSCP, "qemu-img": fakeQEMUImg}[program]
		return map[string]string{program: script + `case "$*" in *"` + on + `"*) echo "no luck today" >&2; exit 3 ;; esac` + "\n"}
	}
	tests := map[string]struct {
		programs map[string]string
		step     string
		removal  []string // the calls after the failure
	}{
		"disk":    {failing("qemu-img", "create"), "define", nil},
		"define":  {failing("virsh", " define "), "define", nil},
		"start":   {failing("virsh", " start "), "define", []string{"virsh undefine DOMAIN"}},
		"address": {failing("virsh", "usernet"), "define", []string{"virsh destroy DOMAIN", "virsh undefine DOMAIN"}},
		"copy":    {failing("scp", "guest:"), "copy openssl", []string{"virsh destroy DOMAIN", "virsh undefine DOMAIN"}},
		"install": {failing("ssh", "dpkg"), "install openssl", []string{"virsh destroy DOMAIN", "virsh undefine DOMAIN"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, test.programs)
			_, err := b.hand.Do(t.Context())
			if err == nil || !strings.HasPrefix(err.Error(), "by hand: "+test.step+": ") || !strings.Contains(err.Error(), "no luck today") {
				t.Errorf("got %v", err)
			}
			calls := b.calls(t)
			var removal []string
			for _, call := range calls {
				if strings.HasPrefix(call, "virsh destroy") || strings.HasPrefix(call, "virsh undefine") {
					removal = append(removal, call)
				}
			}
			if diff := cmp.Diff(test.removal, removal); diff != "" {
				t.Error(diff)
			}
			for _, name := range b.left(t) {
				if !slices.Contains(evidence, name) {
					t.Errorf("%s is left", name)
				}
			}
		})
	}
}

func TestByHandNothingIsLeftAfterCtrlC(t *testing.T) {
	for _, step := range []string{"by hand: define", "by hand: boot", "by hand: install openssl", "by hand: reboot"} {
		t.Run(step, func(t *testing.T) {
			b := newBed(t, nil)
			ctx, cancel := context.WithCancelCause(t.Context())
			stop := errors.New("stopped by a test")
			b.hand.Sink = onStart{step, func(string) { cancel(stop) }}
			if _, err := b.hand.Do(ctx); !errors.Is(err, stop) {
				t.Errorf("got %v", err)
			}
			for _, name := range b.left(t) {
				if !slices.Contains(evidence, name) {
					t.Errorf("%s is left", name)
				}
			}
			calls := b.calls(t)
			defined := slices.Contains(calls, "virsh define by-hand.xml")
			if last := calls[len(calls)-1]; defined && last != "virsh undefine DOMAIN" {
				t.Errorf("the last call was %q", last)
			}
		})
	}
}

func TestByHandADomainThatStaysKeepsItsKeyForGC(t *testing.T) {
	b := newBed(t, map[string]string{"virsh": fakeVirsh + `case "$*" in *" undefine "*) echo "error: libvirt has gone" >&2; exit 1 ;; esac` + "\n"})
	_, err := b.hand.Do(t.Context())
	if err == nil || !strings.Contains(err.Error(), "patchlab gc") || !strings.Contains(err.Error(), "libvirt has gone") {
		t.Errorf("got %v", err)
	}
	if left := b.left(t); !slices.Contains(left, "by-hand.qcow2") || !slices.Contains(left, "key.pem") {
		t.Errorf("left: %v", left)
	}
}

func TestByHandARefusedKeyIsNotTriedForHours(t *testing.T) {
	b := newBed(t, map[string]string{"ssh": "echo 'root@127.0.0.1: Permission denied (publickey).' >&2; exit 255\n"})
	if _, err := b.hand.Do(t.Context()); err == nil || !strings.Contains(err.Error(), "Permission denied") {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsMissingIsToldWithItsPackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := bench.FindPrograms()
	if err == nil {
		t.Fatal("nothing is missing")
	}
	for _, want := range []string{"virsh is not installed", "libvirt-clients", "ssh is not installed", "openssh-client", "qemu-utils"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

// onStart calls something when a step begins.
type onStart struct {
	step string
	call func(run string)
}

func (o onStart) Emit(event progress.Event) {
	if event.Kind == progress.Start && event.Step == o.step {
		o.call(event.Run)
	}
}
