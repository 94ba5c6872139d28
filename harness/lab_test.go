package harness_test

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/accel"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/handoff"
	"github.com/patchlab/patchlab/harness/helper"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/fake"
	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/mirror"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/probe/protocol"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/harness/suite"
	"github.com/patchlab/patchlab/harness/timing"
	"github.com/patchlab/patchlab/harness/undo"
)

// lab couples the fake driver with scripted guests: a server comes up with each domain and goes with it.
type lab struct {
	t       *testing.T
	dir     string
	driver  *fake.Driver
	suites  *suites
	mu      sync.Mutex
	servers map[string]*server // by domain name
	saved   sync.Map           // indexes in the memory of saved guests, by their paths
	keys    atomic.Int32       // how many were made to log in with

	// What happens to the guest, for a test to arrange.
	onApply    map[string]func(*server) // by increment
	onUp       func(*server)            // when a guest comes into being
	onWake     func(*server)            // when a guest that goes on hears what time it is
	onRestart  func(*server)
	onReboot   func(*server)
	bootsAgain func(*server) bool // false: after a reboot the guest does not answer
	exitCode   int                // of every increment
	output     string             // of every increment
	neverUp    bool
	noHost     error
	dialFault  error // of every attempt to reach a guest
	held       int   // images that nobody released
	given      bool  // the given state was made
	keysLeft   bool  // a guest was turned off before it was cleared up
	stays      bool  // a login does not end
	neverBack  bool  // no revert undoes anything
	warm       bool  // clones go on from a template, as they do unless somebody says otherwise
	power      power
	dead       *deadDisk                                                        // what helpers find; nil: there are none
	noKit      error                                                            // instead of what helpers boot
	onHelper   func()                                                           // before one is made
	menu       *bootMenu                                                        // of guests that are turned off and on; nil: they boot
	diskFiles  func(context.Context, image.Image, string) (*probe.Files, error) // nil: nobody reads them on the host
}

func newLab(t *testing.T) *lab {
	t.Helper()
	return newLabIn(t, t.TempDir())
}

// newLabIn finds the domains again that another process left there.
func newLabIn(t *testing.T, dir string) *lab {
	t.Helper()
	l := &lab{
		t: t, dir: dir, suites: &suites{}, servers: map[string]*server{}, onApply: map[string]func(*server){},
		onUp: func(*server) {}, onWake: func(*server) {}, onRestart: func(*server) {}, onReboot: func(*server) {},
		bootsAgain: func(*server) bool { return true },
	}
	var err error
	if l.driver, err = fake.Open(filepath.Join(dir, "domains.json")); err != nil {
		t.Fatal(err)
	}
	l.driver.OnStart = l.start
	l.driver.OnCut = l.cut
	l.driver.OnCheckpoint = func(spec hypervisor.DomainSpec, name string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.servers[spec.Name].keep(name)
	}
	l.driver.OnRevert = func(spec hypervisor.DomainSpec, name string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.servers[spec.Name] = l.servers[spec.Name].back(name)
	}
	l.driver.OnAgent = l.agent
	l.driver.OnChannel = l.channel
	l.driver.OnDestroy = func(spec hypervisor.DomainSpec) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if s := l.servers[spec.Name]; s != nil {
			s.guest.Down()
		}
	}
	return l
}

func (l *lab) reasonWhy() string {
	if l.neverBack {
		return "its disk was not undone"
	}
	return ""
}

func (l *lab) lab() harness.Lab {
	backing := filepath.Join(l.dir, "image.qcow2")
	if err := os.WriteFile(backing, []byte("disk"), 0o400); err != nil && !os.IsPermission(err) {
		l.t.Fatal(err)
	}
	return harness.Lab{
		Host: func(context.Context) (harness.Host, error) {
			return harness.Host{
				Driver: l.driver, Accelerator: accel.Report{Best: hypervisor.TCG, Slowness: 6},
				Undo: func(context.Context) (undo.Report, error) {
					return undo.Report{Proven: !l.neverBack, Reason: l.reasonWhy()}, nil
				},
			}, l.noHost
		},
		Image: func(context.Context, string) (image.Image, func() error, error) {
			l.hold(1)
			return image.Image{
				Name: "debian-12-web", Digest: strings.Repeat("d", 64), Disk: backing, Firmware: hypervisor.BIOS,
				MemoryMiB: 256, VCPUs: 1, Release: "bookworm", MAC: "52:54:00:00:00:01",
			}, func() error { l.hold(-1); return nil }, nil
		},
		NewAccess: func(_ image.Access, privateKey []byte) (harness.Access, error) {
			if privateKey == nil {
				privateKey = fmt.Appendf(nil, "AAAA%d", l.keys.Add(1))
			}
			return harness.Access{AuthorizedKey: "ssh-ed25519 " + string(privateKey), PrivateKey: privateKey, Dialer: l.dialer}, nil
		},
		Agent:    func(caller hypervisor.AgentCaller, _ io.Writer) guest.Dialer { return agentDialer{l, caller} },
		Mirror:   func(context.Context) (mirror.Mirror, error) { return mirror.Mirror{}, mirror.ErrNone },
		Suites:   l.suites,
		Timeouts: timing.Default(), RunsDir: filepath.Join(l.dir, "runs"), CacheDir: filepath.Join(l.dir, "cache"),
		Now: time.Now, DiskFiles: l.diskFiles, Kit: l.kit(),
	}
}

// kit makes what the fake helpers boot.
func (l *lab) kit() func(context.Context, image.Image, string) (helper.Content, error) {
	if l.dead == nil {
		return nil
	}
	return func(context.Context, image.Image, string) (helper.Content, error) {
		if l.onHelper != nil {
			l.onHelper()
		}
		return helper.Content{Kernel: []byte("kernel"), Initrd: []byte("initrd")}, l.noKit
	}
}

// dialer finds the guest that answers at an address.
func (l *lab) dialer(address, _ string, _ io.Writer) (guest.Dialer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, s := range l.servers {
		domain, err := l.driver.Lookup(l.t.Context(), name)
		if err != nil {
			continue // it is gone
		}
		if its, err := domain.Address(l.t.Context()); err == nil && its == address {
			return dialer{l, sshDialer{s}}, nil
		}
	}
	return nil, fmt.Errorf("no domain was started")
}

// dialer reaches a guest unless the lab has a fault.
type dialer struct {
	lab   *lab
	guest guest.Dialer
}

func (d dialer) Dial(ctx context.Context) (guest.Conn, error) {
	if d.lab.dialFault != nil {
		return nil, d.lab.dialFault
	}
	return d.guest.Dial(ctx)
}

// channel is a probe that waits in the guest of a domain.
func (l *lab) channel(spec hypervisor.DomainSpec) (net.Conn, error) {
	if spec.Kernel != "" {
		return l.dead.serve(l, spec)
	}
	l.mu.Lock()
	s := l.servers[spec.Name]
	l.mu.Unlock()
	here, there := net.Pipe()
	go func() {
		defer there.Close() //nolint:errcheck // whoever asked has gone
		questions := bufio.NewScanner(there)
		for questions.Scan() {
			var question protocol.Question
			if json.Unmarshal(questions.Bytes(), &question) != nil || s.deaf {
				continue
			}
			conn, err := s.guest.Backdoor().Dial(context.Background())
			if err != nil {
				return
			}
			line := "/run/patchlab/probe-of-the-test " + strings.Join(question.Arguments, " ")
			result, err := conn.Run(context.Background(), guest.Command{Line: line})
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(there, "%s%s%s", protocol.AnswerHeader(question.Nonce, result.ExitCode, len(result.Stdout), len(result.Stderr)),
				result.Stdout, result.Stderr)
		}
	}()
	return here, nil
}

// hold counts the images that are held.
func (l *lab) hold(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held += n
}

func (l *lab) options() harness.RunOptions {
	return harness.RunOptions{Sink: progress.Discard{}, Cold: !l.warm}
}

// run executes a scenario and checks that nothing is left.
func (l *lab) run(s scenario.Scenario) report.Result {
	l.t.Helper()
	return l.runWith(s, l.options())
}

func (l *lab) runWith(s scenario.Scenario, options harness.RunOptions) report.Result {
	l.t.Helper()
	result := l.runKept(s, options)
	l.checkNothingLeft()
	return result
}

// runKept leaves what the options keep.
func (l *lab) runKept(s scenario.Scenario, options harness.RunOptions) report.Result {
	l.t.Helper()
	result, err := harness.Run(l.t.Context(), l.lab(), s, options)
	if err != nil {
		l.t.Fatalf("running the scenario: %v", err)
	}
	return result
}

func (l *lab) checkNothingLeft() {
	l.t.Helper()
	left, err := l.driver.Domains(context.WithoutCancel(l.t.Context()))
	if err != nil || len(left) > 0 {
		l.t.Errorf("domains are left: %v, %v", left, err)
	}
	if l.held != 0 {
		l.t.Errorf("%d images are still held", l.held)
	}
	for _, pattern := range []string{"*.qcow2", "*.fd", "*.initrd"} {
		disks, err := filepath.Glob(filepath.Join(l.dir, "runs", "*", pattern))
		if err != nil || len(disks) > 0 {
			l.t.Errorf("disks are left: %v, %v", disks, err)
		}
	}
	runs, err := filepath.Glob(filepath.Join(l.dir, "runs", "*"))
	if err != nil {
		l.t.Fatal(err)
	}
	for _, run := range runs {
		dir, err := rundir.Lock(run)
		if errors.Is(err, rundir.ErrLocked) {
			// A program that another test is just starting holds what this process had open, until it is executed.
			passBy(l.t, run)
			dir, err = rundir.Lock(run)
		}
		if err != nil {
			l.t.Errorf("the run is still locked: %v", err)
			continue
		}
		if err := dir.Close(); err != nil {
			l.t.Error(err)
		}
	}
}

// passBy waits until nobody holds the lock of a run, in real time.
func passBy(t *testing.T, run string) {
	t.Helper()
	file, err := os.Open(filepath.Join(run, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Flock(int(file.Fd()), unix.LOCK_EX), file.Close()); err != nil {
		t.Fatal(err)
	}
}

// scripted is a scenario whose increments are scripts; what they do is the lab's onApply. Of a boot that fails no way out
// is looked for.
func scripted(names ...string) scenario.Scenario {
	dir, err := filepath.Abs("testdata")
	if err != nil {
		panic(err)
	}
	s := scenario.Scenario{
		Schema: 1, Name: "test", Image: "debian-12-web", Restart: scenario.RestartAdvised, Dir: dir,
		Rescue: scenario.RescueNever,
		Reboot: []scenario.Reboot{scenario.RebootClean}, Suites: []string{"services"}, Source: []byte("schema: 1\n"),
	}
	for _, n := range names {
		s.Increments = append(s.Increments, scenario.Increment{Name: n, Script: "apply.sh"})
	}
	return s
}

// server is a scripted guest with a few facts that live and change.
type server struct {
	lab      *lab
	spec     hypervisor.DomainSpec
	guest    *guesttest.Script
	mu       sync.Mutex
	facts    map[fact.Key]fact.Fact
	done     map[string]bool   // jobs that ran
	indexes  map[string][]byte // that this boot was brought, by their paths
	rebooted bool
	patched  bool
	cleared  bool                  // of what must not be in an image
	menu     string                // its boot loader's configuration
	next     string                // what its boot loader was told to start next
	entry    string                // what it was told for this boot
	kept     map[string]guestState // by checkpoint

	// How the guest can be reached, for a test to spoil. The zero values are a guest that is well.
	agent    bool   // it has one that answers
	deaf     bool   // the probe that waited in it has gone
	cut      bool   // its power was
	cuts     int    // how often
	lockedUp bool   // no boot lets anybody in over ssh
	sshFails error  // what connecting gives instead
	greeting string // of its own port 22; "" is "greets"
	network  string // "" is a network that works
}

func newServer(l *lab, spec hypervisor.DomainSpec) *server {
	s := &server{
		lab: l, spec: spec, guest: guesttest.NewScript(), facts: map[fact.Key]fact.Fact{}, done: map[string]bool{}, indexes: map[string][]byte{},
	}
	s.put("package", "nginx:amd64", "version", "1", "status", "installed")
	s.put("package", "libssl3:amd64", "version", "1", "status", "installed")
	s.put("unit", "nginx.service", "active", "active", "enabled", "enabled", "load", "loaded")
	s.put("port", "tcp/*:80", "unit", "nginx.service", "executable", "/usr/sbin/nginx")
	s.put("kernel", "running", "release", "6.1")
	s.guest.OnPrefix("test -x /run/patchlab/probe-", guesttest.Says(""))
	s.guest.OnPrefix("journalctl --boot", guesttest.Says("[    1.0] systemd[1]: Started nginx.service.\n"))
	s.guest.OnPrefix("rm -rf -- ", guesttest.Says(""))
	s.guest.OnMatch(subcommand("version"), guesttest.Says("1\n"))
	s.guest.OnMatch(subcommand("clock"), s.reply(func() string { l.onWake(s); return "" }))
	s.guest.OnPrefix("test -c /dev/virtio-ports/", guesttest.Says("")) // a probe waits from now on
	s.guest.On("systemctl reboot", s.reply(s.reboot))
	s.guest.OnPrefix("PATCHLAB_KEY=", s.reply(func() string { s.cleared = true; return "" }))
	s.guest.On("systemctl poweroff", s.reply(func() string {
		l.keysLeft = l.keysLeft || !s.cleared
		if err := l.driver.PowerOff(spec.Name); err != nil {
			l.t.Error(err)
		}
		return ""
	}))
	s.put("file", "/usr/bin/env", "type", "file", "sha256", "e", "package", "coreutils:amd64")
	if key, ok := spec.Credentials["ssh.authorized_keys.root"]; ok {
		s.writeKeys(key)
	}
	s.guest.OnMatch(subcommand("facts"), s.document)
	s.guest.OnPrefix("umask 077; rm -f /run/patchlab/files-", s.takeIndex)
	s.guest.OnMatch(subcommand("settle"), s.reply(func() string {
		settled := probe.Settled{BootID: s.bootID(), State: "running"}
		if l.stays {
			settled.Logins = 1
		}
		return render(settled)
	}))
	s.guest.OnMatch(subcommand("job"), s.job)
	s.scriptRound()
	s.scriptPower()
	s.scriptReach()
	s.scriptMenu()
	l.onUp(s)
	if l.neverUp {
		s.guest.Down()
	}
	return s
}

// scriptRound lets a bench change the guest, and see whether that was undone.
func (s *server) scriptRound() {
	s.guest.OnPrefix("echo changed >/run/patchlab/round", s.reply(func() string { s.put("file", "round"); return "" }))
	s.guest.OnPrefix("test ! -e /run/patchlab/round", func(context.Context, guest.Command) guest.Result {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, changed := s.facts[fact.Key{Kind: "file", Name: "round"}]; changed {
			return guest.Result{ExitCode: 1}
		}
		return guest.Result{}
	})
}

// scriptMenu lets the guest's boot loader be asked, and told what to start next.
func (s *server) scriptMenu() {
	s.guest.OnPrefix("cat /boot/grub/grub.cfg", s.reply(func() string { return s.menu }))
	s.guest.OnPrefix("if command -v grub-reboot", func(_ context.Context, c guest.Command) guest.Result {
		_, s.next, _ = strings.Cut(c.Line, "grub2-reboot '")
		s.next, _, _ = strings.Cut(s.next, "'")
		return guest.Result{}
	})
	s.guest.On("uname -r", s.reply(func() string { return s.get("running", "release") + "\n" }))
}

// keep remembers what the guest is.
func (s *server) keep(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = map[string]guestState{}
	}
	boot, _ := s.guest.File(guesttest.BootID)
	s.kept[name] = guestState{maps.Clone(s.facts), maps.Clone(s.indexes), s.patched, s.rebooted, s.menu, boot}
}

// guestState is what a checkpoint keeps of a guest.
type guestState struct {
	facts             map[fact.Key]fact.Fact
	indexes           map[string][]byte
	patched, rebooted bool
	menu              string
	boot              guesttest.File
}

// back is the guest as it was.
func (s *server) back(name string) *server {
	earlier, was := newServer(s.lab, s.spec), s.kept[name]
	earlier.kept, earlier.deaf = s.kept, s.deaf
	earlier.facts, earlier.indexes, earlier.menu = maps.Clone(was.facts), maps.Clone(was.indexes), was.menu
	earlier.patched, earlier.rebooted = was.patched, was.rebooted
	earlier.guest.SetFile(guesttest.BootID, was.boot.Mode, string(was.boot.Content))
	return earlier
}

func subcommand(name string) func(guest.Command) bool {
	return func(c guest.Command) bool {
		words := strings.Fields(c.Line)
		return len(words) > 1 && strings.HasPrefix(words[0], "/run/patchlab/probe-") && words[1] == name
	}
}

func (s *server) reply(answer func() string) guesttest.Reply {
	return func(context.Context, guest.Command) guest.Result { return guest.Result{Stdout: []byte(answer())} }
}

func (s *server) bootID() string {
	file, _ := s.guest.File(guesttest.BootID)
	return strings.TrimSpace(string(file.Content))
}

// job applies an increment or restarts once; asked again, it only tells the exit code, as the real one does.
func (s *server) job(_ context.Context, command guest.Command) guest.Result {
	name := strings.Fields(command.Line)[3] // PROBE job run NAME --offset N
	_, staged := s.guest.File(probe.JobPath(name))
	again := !staged || s.done[name]
	s.done[name] = true
	apply := s.lab.onApply[name]
	switch {
	case strings.HasPrefix(name, "Restart-"):
		if !again {
			s.lab.onRestart(s)
		}
		return guest.Result{}
	case apply != nil && !again:
		s.patched = true
		apply(s)
	}
	return guest.Result{ExitCode: s.lab.exitCode, Stdout: []byte(cmp.Or(s.lab.output, "applied\n"))}
}

func (s *server) reboot() string {
	s.mu.Lock()
	clear(s.indexes)
	s.rebooted = true
	s.entry, s.next = s.next, ""
	s.mu.Unlock()
	s.guest.Down()
	s.lab.onReboot(s)
	if s.lab.bootsAgain(s) {
		s.guest.Reboot()
	}
	if s.lockedUp {
		s.guest.Down()
	}
	return ""
}

// document tells of files only those that are not in the index, as the real probe does.
func (s *server) document(_ context.Context, command guest.Command) guest.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasSuffix(command.Line, " --only boot") {
		only := fact.NewSet(slices.Collect(maps.Values(s.facts))...).OfKind(fact.KindBoot)
		return guest.Result{Stdout: []byte(render(probe.Document{Probe: "1", BootID: s.bootID(), Facts: fact.NewSet(only...)}))}
	}
	var known protocol.Index
	if _, path, asked := strings.Cut(command.Line, " --index "); asked {
		content, there := s.indexes[path]
		if !there && s.spec.Resume.State != "" && !s.rebooted {
			saved, isSaved := s.lab.saved.Load(path) // in the memory with which it came to life
			if there = isSaved; there {
				content = saved.([]byte)
			}
		}
		index, err := protocol.ParseIndex(content)
		if !there || err != nil {
			return guest.Result{ExitCode: protocol.ExitNoIndex, Stderr: []byte("patchlab-probe: no index of files\n")}
		}
		known = index
	}
	files := &protocol.Files{Seen: protocol.NewSeen(known)}
	told := maps.Clone(s.facts)
	maps.DeleteFunc(told, func(k fact.Key, _ fact.Fact) bool { return k.Kind == fact.KindBoot })
	for _, f := range fact.NewSet(slices.Collect(maps.Values(s.facts))...).OfKind(fact.KindFile) {
		if position, found := known.Find(printOf(f)); found {
			protocol.SetSeen(files.Seen, position)
			delete(told, f.Key())
			continue
		}
		files.AddPrint(printOf(f))
	}
	return guest.Result{Stdout: []byte(render(probe.Document{
		Probe: "1", BootID: s.bootID(), Facts: fact.NewSet(slices.Collect(maps.Values(told))...), Files: files,
	}))}
}

func printOf(f fact.Fact) protocol.Print {
	sum := sha256.Sum256([]byte(render(f)))
	return protocol.Print(binary.LittleEndian.Uint64(sum[:]))
}

// takeIndex keeps an index for this boot, and for the clones of a guest that is to be saved.
func (s *server) takeIndex(_ context.Context, command guest.Command) guest.Result {
	content, err := io.ReadAll(command.Stdin)
	if err != nil {
		return guest.Result{ExitCode: 1}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.indexes[protocol.IndexPath(content)] = content
	if s.spec.Memory != "" {
		s.lab.saved.Store(protocol.IndexPath(content), content)
	}
	return guest.Result{}
}

func (s *server) put(kind fact.Kind, name string, pairs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := fact.Fact{Kind: kind, Name: name, Attributes: map[string]string{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		f.Attributes[pairs[i]] = pairs[i+1]
	}
	s.facts[f.Key()] = f
}

func (s *server) set(name, attribute, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, f := range s.facts {
		if key.Name == name {
			f.Attributes = maps.Clone(f.Attributes)
			f.Attributes[attribute] = value
			s.facts[key] = f
		}
	}
}

func (s *server) get(name, attribute string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, f := range s.facts {
		if key.Name == name {
			return f.Attributes[attribute]
		}
	}
	return ""
}

func (s *server) drop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.facts, func(key fact.Key, _ fact.Fact) bool { return key.Name == name })
}

func (s *server) upgrade(name, version string) { s.set(name, "version", version) }

func (s *server) console(text string) {
	file, err := os.OpenFile(s.spec.Console, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		s.lab.t.Error(err)
		return
	}
	if _, err := file.WriteString(text); err != nil {
		s.lab.t.Error(err)
	}
	if err := file.Close(); err != nil {
		s.lab.t.Error(err)
	}
}

// kill ends the domain from outside, as `kill -9` of its QEMU does.
func (s *server) kill() {
	if err := s.lab.driver.Kill(s.spec.Name); err != nil {
		s.lab.t.Error(err)
	}
}

func render(document any) string {
	content, err := json.Marshal(document)
	if err != nil {
		panic(err)
	}
	return string(content)
}

// suites answers for the ginkgo suites.
type suites struct {
	err            error
	failAfterPatch bool
	message        string     // of the failure
	subjects       []fact.Key // of the failure
	// afterPatch, when set, is what becomes of the spec after the patch: skipped, or "" for gone.
	afterPatch *suite.State
	asked      sync.Mutex     // runs at once share the suites
	boots      []handoff.Boot // of the guest that was asked last
}

func (s *suites) Run(_ context.Context, h handoff.Handoff, _ guest.Conn, evidence string) (suite.Report, error) {
	s.asked.Lock()
	s.boots = h.Boots
	s.asked.Unlock()
	spec := suite.Spec{Name: "serves the page", State: suite.Passed, Expectation: -1}
	if s.failAfterPatch && h.Phase != "baseline" {
		spec.State, spec.Message, spec.Subjects = suite.Failed, cmp.Or(s.message, "connection refused"), s.subjects
	}
	if err := os.WriteFile(evidence+".log", []byte(s.message), 0o644); err != nil {
		return suite.Report{}, err
	}
	if s.afterPatch != nil && h.Phase != "baseline" {
		spec.State = *s.afterPatch
	}
	if spec.State == "" {
		return suite.Report{}, s.err
	}
	return suite.Report{Specs: []suite.Spec{spec}, Passed: 1}, s.err
}
