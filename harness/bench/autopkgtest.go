package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/printable"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/timing"
)

// The evidence of autopkgtest, in the directory of the run that it does again.
const (
	autopkgtestLog = "autopkgtest.log"
	autopkgtestRun = "autopkgtest.qemu" // QEMU's command line, a word a line
)

// rootShell readies a guest for autopkgtest's qemu server: it wants a root shell on a second console.
const rootShell = `#!/bin/sh
set -eu
cat >/etc/systemd/system/autopkgtest.service <<'UNIT'
[Unit]
Description=root shell for autopkgtest
ConditionPathExists=/dev/hvc1

[Service]
ExecStart=/bin/sh
StandardInput=tty-fail
StandardOutput=tty
StandardError=tty
TTYPath=/dev/hvc1
SendSIGHUP=yes
SuccessExitStatus=0 208 SIGHUP SIGINT SIGTERM SIGPIPE SIGKILL

[Install]
WantedBy=multi-user.target
UNIT
systemctl enable autopkgtest.service
`

// Testbed is the scenario whose given state is an image that autopkgtest can work with: it needs Python in the guest and a shell.
// The scenario's payload is written to dir.
func Testbed(image, release, dir string) (scenario.Scenario, error) {
	const script = "root-shell.sh"
	if err := os.WriteFile(filepath.Join(dir, script), []byte(rootShell), 0o755); err != nil {
		return scenario.Scenario{}, fmt.Errorf("preparing an image for autopkgtest: %w", err)
	}
	return scenario.Scenario{
		Name: "autopkgtest", Image: image, Dir: dir,
		Given: &scenario.Increment{
			Name: "autopkgtest", Script: script, APT: &scenario.APT{Packages: []string{"python3-minimal"}, Suite: release, Mode: "with-new-pkgs"},
		},
	}, nil
}

// AutopkgtestPrograms are the paths of what autopkgtest needs on the host.
type AutopkgtestPrograms struct {
	Autopkgtest, QEMU string
}

// FindAutopkgtest looks on PATH. Of what is missing it names all, with the Debian packages.
func FindAutopkgtest() (AutopkgtestPrograms, error) {
	var found AutopkgtestPrograms
	var missing []error
	for _, one := range []struct {
		path         *string
		name, origin string
	}{
		{&found.Autopkgtest, "autopkgtest", "autopkgtest"},
		{new(string), "autopkgtest-virt-qemu", "autopkgtest"},
		{&found.QEMU, "qemu-system-x86_64", "qemu-system-x86"},
		{new(string), "qemu-img", "qemu-utils"},
	} {
		path, err := exec.LookPath(one.name)
		if err != nil {
			missing = append(missing, fmt.Errorf("%s is not installed, with which is compared: apt-get install --no-install-recommends %s",
				one.name, one.origin))
		}
		*one.path = path
	}
	return found, errors.Join(missing...)
}

// Autopkgtest does what a run has done with Debian's autopkgtest and its qemu server.
type Autopkgtest struct {
	Programs  AutopkgtestPrograms
	Disk      string // stands alone, and is prepared, see [Testbed]; it is not written to
	MemoryMiB int
	VCPUs     int
	// Accelerator and TranslationCacheMiB are those of the run.
	Accelerator         hypervisor.Accelerator
	TranslationCacheMiB int
	Candidate           Candidate
	Scenario            string          // under which those who watch know the run
	Dir                 string          // of the run that is done again, whose lock the caller holds
	Bounds              timing.Timeouts // scaled
	Sink                progress.Sink
	Now                 func() time.Time
}

// marker begins the lines by which the test tells what it has done.
const marker = "patchlab-bench: "

// Do returns how long each step took, and QEMU's command line.
func (a Autopkgtest) Do(ctx context.Context) (times []Time, qemu []string, err error) {
	place, err := os.MkdirTemp("", "patchlab-autopkgtest-") // a short path: the server makes sockets below it
	if err != nil {
		return nil, nil, fmt.Errorf("preparing autopkgtest: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(place), os.RemoveAll(PackagesDir(a.Dir))) }()
	if err := a.prepare(place); err != nil {
		return nil, nil, fmt.Errorf("preparing autopkgtest: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(a.Dir, autopkgtestLog), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the log: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	steps := &markers{now: a.Now, began: a.Now(), log: log, tell: a.tell}
	a.tell(progress.Start, Boot, 0)
	if err := a.call(ctx, place, steps); err != nil {
		return nil, nil, fmt.Errorf("%w (its log: %s)", err, log.Name())
	}
	steps.end(Teardown, "")
	content, err := os.ReadFile(filepath.Join(a.Dir, autopkgtestRun))
	if err != nil {
		return nil, nil, fmt.Errorf("reading how QEMU was called: %w", err)
	}
	return steps.times, strings.Split(strings.TrimSpace(string(content)), "\n"), nil
}

func (a Autopkgtest) tell(kind progress.Kind, step string, took time.Duration) {
	a.Sink.Emit(progress.Event{Kind: kind, Run: a.Scenario, Step: "autopkgtest: " + step, At: a.Now(), Elapsed: took})
}

// prepare writes the test that does the steps, and what stands in QEMU's place. There is no package around the test: autopkgtest
// would want to build it in the guest, for which that lacks everything.
func (a Autopkgtest) prepare(place string) error {
	for name, file := range map[string]struct {
		content string
		mode    fs.FileMode
	}{
		"source/debian/tests/control": {"Tests: steps\nDepends:\nRestrictions: needs-root, isolation-machine, breaks-testbed, allow-stderr\n", 0o644},
		"source/debian/tests/steps":   {a.test(), 0o755},
		"qemu":                        {a.wrapper(), 0o755},
	} {
		path := filepath.Join(place, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(file.content), file.mode); err != nil {
			return err
		}
	}
	return nil
}

// packagesThere is where the guest finds the packages.
const packagesThere = "/var/tmp/patchlab-packages"

// test is the test: the steps of the run, with a line before each.
func (a Autopkgtest) test() string {
	var b strings.Builder
	say := func(step, increment string) { fmt.Fprintf(&b, "echo %s\n", quote(marker+step+" "+increment)) }
	check := func() {
		if a.Candidate.Check != "" {
			b.WriteString("{ " + a.Candidate.Check + "; } || exit 1\n")
			say(Check, "")
		}
	}
	b.WriteString("#!/bin/sh\nset -eu\ncase \"${AUTOPKGTEST_REBOOT_MARK:-}\" in\n'')\n")
	say(Boot, "")
	for _, inc := range a.Candidate.Increments {
		words := append([]string{"DEBIAN_FRONTEND=noninteractive", "dpkg"}, a.Candidate.Force...)
		words = append(words, "-i")
		for _, file := range inc.Packages {
			words = append(words, quote(packagesThere+"/"+inc.Name+"/"+filepath.Base(file)))
		}
		b.WriteString(strings.Join(words, " ") + "\n")
		say(Install, inc.Name)
		if len(inc.Restart) > 0 {
			b.WriteString(restartLine(inc.Restart) + "\n")
			say(Restart, inc.Name)
		}
	}
	check()
	for i := range a.Candidate.Reboots {
		fmt.Fprintf(&b, "/tmp/autopkgtest-reboot %d\n;;\n%d)\n", i, i)
		say(Reboot, "")
		check()
	}
	b.WriteString(";;\nesac\n")
	return b.String()
}

// wrapper stands in QEMU's place: autopkgtest asks for KVM wherever there is a device for it, whatever it is worth.
func (a Autopkgtest) wrapper() string {
	kvm, accelerator := `set -- "$@" -enable-kvm`, ""
	if a.Accelerator == hypervisor.TCG {
		kvm, accelerator = ":", fmt.Sprintf("-accel tcg,tb-size=%d", a.TranslationCacheMiB)
	}
	return fmt.Sprintf(`#!/bin/sh
for word; do
  shift
  case "$word" in
  -enable-kvm) %s ;;
  *) set -- "$@" "$word" ;;
  esac
done
set -- %s "$@" %s
printf '%%s\n' "$@" >%s
exec "$@"
`, kvm, quote(a.Programs.QEMU), accelerator, quote(filepath.Join(a.Dir, autopkgtestRun)))
}

// model is the CPU of the guest: the same as the run's.
func (a Autopkgtest) model() string {
	if a.Accelerator == hypervisor.TCG {
		return "qemu64"
	}
	return "host"
}

// call runs autopkgtest. It is asked to end when ctx ends, and by the kernel when this process dies: its server then takes QEMU away.
func (a Autopkgtest) call(ctx context.Context, place string, output io.Writer) error {
	arguments := []string{
		"--no-built-binaries", "--timeout-factor", "5", "--copy", PackagesDir(a.Dir) + ":" + packagesThere,
		filepath.Join(place, "source"), "--", "qemu",
		"--qemu-command", filepath.Join(place, "qemu"), "--qemu-architecture", "x86_64", "--overlay-dir", place,
		"--ram-size", strconv.Itoa(a.MemoryMiB), "--cpus", strconv.Itoa(a.VCPUs),
		"--timeout-reboot", strconv.Itoa(int((a.Bounds.Shutdown + a.Bounds.Boot).Seconds())), "--qemu-options=-cpu " + a.model(), a.Disk,
	}
	command := exec.CommandContext(ctx, a.Programs.Autopkgtest, arguments...)
	command.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TMPDIR="+place)
	command.Stdout, command.Stderr = output, output
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = a.Bounds.Cleanup

	// The death signal comes when the starting thread ends, so it must live as long as the program.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("calling autopkgtest %s: %w", strings.Join(arguments, " "), err)
	}
	return nil
}

// markers takes autopkgtest's output: it goes to the log, and each line of the test's that begins with the marker ends a step.
type markers struct {
	now  func() time.Time
	log  io.Writer
	tell func(kind progress.Kind, step string, took time.Duration)

	lock  sync.Mutex
	began time.Time
	rest  []byte
	times []Time
}

func (m *markers) Write(p []byte) (int, error) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if _, err := m.log.Write(p); err != nil {
		return 0, err
	}
	m.rest = append(m.rest, p...)
	for {
		advance, text, _ := bufio.ScanLines(m.rest, false)
		if advance == 0 {
			break
		}
		if said, ok := strings.CutPrefix(string(text), marker); ok {
			name, increment, _ := strings.Cut(printable.Line(said, maxOutput), " ")
			m.note(name, strings.TrimSpace(increment))
		}
		m.rest = m.rest[advance:]
	}
	m.rest = m.rest[max(0, len(m.rest)-maxOutput):] // a line that does not end is none of ours
	return len(p), nil
}

// end ends the last step.
func (m *markers) end(step, increment string) {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.note(step, increment)
}

func (m *markers) note(step, increment string) {
	now := m.now()
	took := now.Sub(m.began)
	m.times = append(m.times, Time{Step: step, Increment: increment, Seconds: took.Seconds()})
	m.began = now
	m.tell(progress.Done, strings.TrimSpace(step+" "+increment), took)
}
