package bench_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/bench"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/timing"
)

// fakeAutopkgtest calls what stands in QEMU's place, as the real one does where there is a device for KVM, and runs the test once for
// each boot.
const fakeAutopkgtest = `#!/bin/sh
here=$(dirname "$0")
printf '%s\n' "$@" >"$here/arguments"
for word; do
  case "$word" in */source) source=$word ;; */qemu) qemu=$word ;; esac
done
"$qemu" -m 768 -enable-kvm -cpu qemu64
cp "$source/debian/tests/steps" "$here/steps"
echo "a line of autopkgtest's own"
sed -e "s,/tmp/autopkgtest-reboot,exit 0; :," "$source/debian/tests/steps" >"$here/test"
PATH=$here:$PATH sh "$here/test" || exit 4
AUTOPKGTEST_REBOOT_MARK=0 PATH=$here:$PATH sh "$here/test" || exit 4
`

// peer is an autopkgtest with fake programs in dir.
func peer(t *testing.T, dir string, scripts map[string]string) bench.Autopkgtest {
	t.Helper()
	for _, name := range []string{"autopkgtest", "qemu-system-x86_64", "dpkg", "systemctl"} {
		script := scripts[name]
		if script == "" {
			script = "#!/bin/sh\necho \"" + name + " $*\" >>" + dir + "/calls\n"
		}
		write(t, filepath.Join(dir, name), script)
		if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run := filepath.Join(dir, "run")
	if err := os.MkdirAll(bench.PackagesDir(run), 0o755); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(0, 0)
	return bench.Autopkgtest{
		Programs: bench.AutopkgtestPrograms{Autopkgtest: filepath.Join(dir, "autopkgtest"), QEMU: filepath.Join(dir, "qemu-system-x86_64")},
		Disk:     "/disk.qcow2", MemoryMiB: 768, VCPUs: 1, Accelerator: hypervisor.TCG, TranslationCacheMiB: 64, Scenario: "s", Dir: run,
		Candidate: bench.Candidate{
			Increments: []bench.Increment{
				{Name: "openssl", Packages: []string{"/cache/libssl3_1_amd64.deb"}, Restart: []string{"nginx.service"}},
				{Name: "nginx", Packages: []string{"/cache/nginx_1_all.deb"}},
			},
			Force: []string{"--force-confold"}, Check: "systemctl is-active nginx", Reboots: 1,
		},
		Bounds: timing.Default(), Sink: progress.Discard{},
		Now: func() time.Time { now = now.Add(time.Second); return now },
	}
}

func TestAutopkgtestDoesTheSameSteps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := peer(t, dir, map[string]string{"autopkgtest": fakeAutopkgtest})
	times, qemu, err := p.Do(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, one := range times {
		steps = append(steps, strings.TrimSpace(one.Step+" "+one.Increment))
		if one.Seconds <= 0 {
			t.Errorf("%s took %v s", one.Step, one.Seconds)
		}
	}
	want := []string{"boot", "install openssl", "restart openssl", "install nginx", "check", "reboot", "check", "teardown"}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Error(diff)
	}
	wantQEMU := []string{p.Programs.QEMU, "-m", "768", "-cpu", "qemu64", "-accel", "tcg,tb-size=64"}
	if diff := cmp.Diff(wantQEMU, qemu); diff != "" {
		t.Errorf("QEMU was called otherwise, above all without the KVM that is not to be had:\n%s", diff)
	}
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	const wantCalls = `qemu-system-x86_64 -m 768 -cpu qemu64 -accel tcg,tb-size=64
dpkg --force-confold -i /var/tmp/patchlab-packages/openssl/libssl3_1_amd64.deb
systemctl restart -- nginx.service
dpkg --force-confold -i /var/tmp/patchlab-packages/nginx/nginx_1_all.deb
systemctl is-active nginx
systemctl is-active nginx
`
	if diff := cmp.Diff(wantCalls, string(calls)); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(bench.PackagesDir(p.Dir)); err == nil {
		t.Error("the packages are left behind")
	}
	if log, err := os.ReadFile(filepath.Join(p.Dir, "autopkgtest.log")); err != nil || !strings.Contains(string(log), "a line of autopkgtest's own") {
		t.Errorf("the log has %q, %v", log, err)
	}
}

func TestWithKVMAutopkgtestHasItToo(t *testing.T) {
	t.Parallel()
	p := peer(t, t.TempDir(), map[string]string{"autopkgtest": fakeAutopkgtest})
	p.Accelerator, p.TranslationCacheMiB = hypervisor.KVM, 0
	_, qemu, err := p.Do(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{p.Programs.QEMU, "-m", "768", "-enable-kvm", "-cpu", "qemu64"}, qemu); diff != "" {
		t.Error(diff)
	}
}

func TestATestThatFailsIsNoMeasure(t *testing.T) {
	t.Parallel()
	p := peer(t, t.TempDir(), map[string]string{"autopkgtest": fakeAutopkgtest, "systemctl": "#!/bin/sh\n[ \"$1\" != is-active ]\n"})
	if _, _, err := p.Do(t.Context()); err == nil || !strings.Contains(err.Error(), "autopkgtest.log") {
		t.Errorf("a check that fails: %v", err)
	}
}

func TestAutopkgtestIsAskedToEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := peer(t, dir, map[string]string{"autopkgtest": "#!/bin/sh\ntrap 'echo asked >" + dir + "/asked; exit 20' TERM\necho 'patchlab-bench: boot '\nwhile :; do sleep 0.1; done\n"})
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	p.Sink = onDone(func() { cancel(stop) })
	if _, _, err := p.Do(ctx); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "asked")); err != nil {
		t.Error("it was not asked: its server would leave QEMU behind")
	}
}

// onDone is called when a step ends.
type onDone func()

func (f onDone) Emit(event progress.Event) {
	if event.Kind == progress.Done {
		f()
	}
}

func TestWhatAutopkgtestNeedsIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := bench.FindAutopkgtest()
	if err == nil {
		t.Fatal("everything is found in an empty directory")
	}
	for _, want := range []string{"apt-get install --no-install-recommends autopkgtest", "qemu-system-x86", "qemu-utils"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

func TestTheTestbedsScriptIsAScript(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := bench.Testbed("web", "bookworm", dir)
	if err != nil {
		t.Fatal(err)
	}
	if output, err := exec.CommandContext(t.Context(), "sh", "-n", filepath.Join(s.Dir, s.Given.Script)).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, output)
	}
	if s.Image != "web" || s.Given.APT.Suite != "bookworm" {
		t.Errorf("got %+v", s)
	}
}

func TestTheGoalIsLessByMostOfABoot(t *testing.T) {
	t.Parallel()
	round := func(wall, peer float64) bench.PeerRound {
		return bench.PeerRound{
			Run: report.Result{Scenario: "s", RunDir: "/r", Phases: []report.Phase{{Name: "prepare", Steps: map[string]float64{"clone": 4}}}}, Wall: wall,
			Peer: []bench.Time{{Step: "boot", Seconds: peer - 1}, {Step: "teardown", Seconds: 1}}, PeerQEMU: []string{"qemu"}, RunQEMU: []string{"kvm"},
		}
	}
	got := bench.CompareWith("autopkgtest", []bench.PeerRound{round(160, 200), round(166, 202), round(164, 198)}, []float64{50})
	if got.Goal != 165 || !got.Reached || got.Patchlab.Median != 164 || got.Peer.Median != 200 {
		t.Errorf("goal %v, reached %v, %v against %v", got.Goal, got.Reached, got.Patchlab.Seconds, got.Peer.Seconds)
	}
	if len(got.Peer.Steps) != 2 || got.Peer.Steps[0].Step != "boot" || got.Patchlab.Steps[0].Step != "define" {
		t.Errorf("steps %+v and %+v", got.Patchlab.Steps, got.Peer.Steps)
	}
	if got := bench.CompareWith("autopkgtest", []bench.PeerRound{round(166, 200)}, []float64{50}); got.Reached {
		t.Errorf("%v s is said to reach %v", got.Patchlab.Median, got.Goal)
	}
}
