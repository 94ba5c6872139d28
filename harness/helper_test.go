package harness_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/hypervisor/fake"
	"github.com/patchlab/patchlab/harness/probe"
	"github.com/patchlab/patchlab/harness/probe/protocol"
	"github.com/patchlab/patchlab/harness/progress"
	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/verdict"
)

// deadDisk is what the helpers of a lab find on the disk of a guest.
type deadDisk struct {
	opened protocol.Opened
	facts  fact.Set
	run    func(line string) guest.Result
	mute   bool // it never answers

	mu    sync.Mutex
	specs []hypervisor.DomainSpec
	asked []string // lines that were run, and what else there is to ask
}

// failedBootID is that of the boot that did not come up, after those of which the lab knows.
const failedBootID = "00000000000000000000000000000bad"

// aDisk has the journal of a boot in which a unit failed.
func aDisk() *deadDisk {
	d := &deadDisk{
		opened: protocol.Opened{Root: "/dev/vda1"},
		facts:  fact.NewSet(fact.Fact{Kind: fact.KindPackage, Name: "nginx:amd64", Attributes: map[string]string{"version": "2"}}),
	}
	d.run = func(line string) guest.Result {
		switch {
		case strings.Contains(line, "--list-boots"):
			return guest.Result{Stdout: []byte("-1 " + strings.Repeat("a", 32) + " Mon Tue\n 0 " + failedBootID + " Wed Thu\n")}
		case strings.Contains(line, "--output=json"):
			return guest.Result{Stdout: []byte(`{"UNIT":"srv-data.mount","MESSAGE":"Failed to mount srv-data.mount\u001b[0m"}` + "\n")}
		case strings.Contains(line, "--output=short-monotonic"):
			return guest.Result{Stdout: []byte("[    3.1] web systemd[1]: srv-data.mount: it is not there\x1b[31m\n")}
		}
		return guest.Result{ExitCode: 127, Stderr: []byte("not found\n")}
	}
	return d
}

// serve answers as the probe does that is the first process of a helper.
func (d *deadDisk) serve(l *lab, spec hypervisor.DomainSpec) (net.Conn, error) {
	d.mu.Lock()
	d.specs = append(d.specs, spec)
	d.mu.Unlock()
	here, there := net.Pipe()
	go func() {
		defer there.Close() //nolint:errcheck // whoever asked has gone
		questions := bufio.NewScanner(there)
		for questions.Scan() {
			var question protocol.Question
			if json.Unmarshal(questions.Bytes(), &question) != nil || d.mute {
				continue
			}
			result := d.answer(question.Arguments)
			_, _ = fmt.Fprintf(there, "%s%s%s", protocol.AnswerHeader(question.Nonce, result.ExitCode, len(result.Stdout), len(result.Stderr)),
				result.Stdout, result.Stderr)
			if question.Arguments[0] == protocol.AskOff {
				_ = l.driver.PowerOff(spec.Name) // it does so by itself
			}
		}
	}()
	return here, nil
}

func (d *deadDisk) answer(arguments []string) guest.Result {
	line := arguments[len(arguments)-1] // run --timeout DURATION LINE
	d.mu.Lock()
	d.asked = append(d.asked, line)
	d.mu.Unlock()
	switch arguments[0] {
	case protocol.AskOpened:
		<-time.After(20 * time.Second) // of the fake clock: it boots; whoever watches the clone looks several times
		return guest.Result{Stdout: []byte(render(d.opened))}
	case protocol.AskRun:
		return d.run(line)
	case "facts":
		return guest.Result{Stdout: []byte(render(probe.Document{Probe: "1", Facts: d.facts}))}
	case protocol.AskOff:
		return guest.Result{}
	}
	return guest.Result{ExitCode: protocol.ExitUsage}
}

const panics = leaving + loading + kernel + "[ 2.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n"

// dies arranges a patch after which the guest does not boot, in a lab with helpers.
func dies(l *lab) {
	l.dead = aDisk()
	l.onApply["bad"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
	afterPatch(l, panics)
}

func TestADeadGuestsDiskIsReadByAHelper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		dies(lab)
		var pressed []hypervisor.Key
		lab.driver.OnPress = func(spec hypervisor.DomainSpec, keys []hypervisor.Key) {
			pressed = keys
			appendTo(t, spec.Console, "sysrq: Emergency Sync\nEmergency Sync complete\n")
		}
		result := lab.run(scripted("bad"))
		if result.Outcome != verdict.BootFailed || len(result.Findings) != 1 {
			t.Fatalf("outcome %s (%s), findings %v", result.Outcome, result.Reason, ids(result))
		}
		if diff := cmp.Diff([]hypervisor.Key{hypervisor.KeyAlt, hypervisor.KeySysRq, hypervisor.KeyS}, pressed); diff != "" {
			t.Errorf("keys (-want +got):\n%s", diff)
		}
		f := result.Findings[0]
		if !strings.Contains(f.Cause, "VFS: Unable to mount root fs") || !strings.Contains(f.Cause, "; the journal says Failed to mount srv-data.mount") {
			t.Errorf("cause %q", f.Cause)
		}
		const how = "read from the dead guest's disk by a helper domain"
		want := []verdict.Evidence{
			{File: rundir.HelperJournal, Lines: []string{how, "Failed to mount srv-data.mount"}},
			{File: rundir.HelperFacts, Lines: []string{how}},
		}
		if diff := cmp.Diff(want, f.Evidence[len(f.Evidence)-2:]); diff != "" {
			t.Errorf("evidence (-want +got):\n%s", diff)
		}
		journal, err := os.ReadFile(filepath.Join(result.RunDir, rundir.HelperJournal))
		if err != nil || !strings.Contains(string(journal), failedBootID) || !strings.Contains(string(journal), "it is not there\n") {
			t.Errorf("the journal is %q, %v", journal, err)
		}
		facts, err := os.ReadFile(filepath.Join(result.RunDir, rundir.HelperFacts))
		if err != nil || !strings.Contains(string(facts), `"version":"2"`) {
			t.Errorf("the facts are %q, %v", facts, err)
		}
		spec := lab.dead.specs[0]
		if spec.Disk.Backing != filepath.Join(result.RunDir, rundir.Overlay) || spec.Disk.Path == spec.Disk.Backing || spec.MemoryMiB != 256 {
			t.Errorf("the helper is %+v", spec)
		}
		if got := phases(result); !strings.Contains(got, "reboot:done") {
			t.Errorf("phases %s", got)
		}
	})
}

// TestAGuestThatAnswersNeedsNoHelper holds that the agent is asked first, and that a guest that is well is left alone.
func TestAGuestThatAnswersNeedsNoHelper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.dead = aDisk()
		lab.onApply["bad"] = lockOut
		lab.rebootsInto(func(s *server) { s.set("nginx.service", "active", "inactive") })
		result := lab.run(scripted("bad"))
		if _, told := find(result, "PL205"); !told || len(lab.dead.specs) > 0 {
			t.Errorf("findings %v, helpers %v", ids(result), lab.dead.specs)
		}
	})
}

// TestAHelperThatFailsChangesNoVerdict goes through the ways in which one can.
func TestAHelperThatFailsChangesNoVerdict(t *testing.T) {
	lost := errors.New("libvirtd has gone for a moment")
	tests := []struct {
		name    string
		arrange func(*lab)
		note    string
	}{
		{"it is not defined", func(l *lab) { l.onHelper = func() { l.driver.FailNext(fake.Define, lost) } }, lost.Error()},
		{"it does not start", func(l *lab) { l.onHelper = func() { l.driver.FailNext(fake.Start, lost) } }, lost.Error()},
		{"it cannot be reached", func(l *lab) { l.onHelper = func() { l.driver.FailNext(fake.Channel, lost) } }, lost.Error()},
		{"it never answers", func(l *lab) { l.dead.mute = true }, "did not open the disk within"},
		{"there is no root on the disk", func(l *lab) {
			l.dead.opened = protocol.Opened{Problems: []string{"mounting /dev/vda1: structure needs cleaning\x1b"}}
		}, `structure needs cleaning\x1b`},
		{"the image has no kernel", func(l *lab) { l.noKit = lost }, lost.Error()},
		{"journalctl is broken", func(l *lab) {
			l.dead.run = func(string) guest.Result { return guest.Result{ExitCode: 1, Stderr: []byte("no libsystemd\n")} }
		}, "no libsystemd"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lab := newLab(t)
				dies(lab)
				tt.arrange(lab)
				var notes []string
				options := lab.options()
				options.Sink = sinkFunc(func(e progress.Event) {
					if e.Kind == progress.Note && e.Step == "reboot" {
						notes = append(notes, e.Text)
					}
				})
				result := lab.runWith(scripted("bad"), options)
				if result.Outcome != verdict.BootFailed || len(result.Findings) != 1 || result.Findings[0].ID != "PL706" {
					t.Errorf("outcome %s (%s), findings %v", result.Outcome, result.Reason, ids(result))
				}
				if !slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, tt.note) }) {
					t.Errorf("notes %q, want one with %q", notes, tt.note)
				}
			})
		})
	}
}

// TestAFaultOfTheLabInAHelperChangesNoVerdict holds that what the boot has shown stands, whatever befalls those who look further.
func TestAFaultOfTheLabInAHelperChangesNoVerdict(t *testing.T) {
	for _, fault := range suddenFaults() {
		for _, m := range momentsAfterDeath() {
			t.Run(fault.name+"/"+m.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					lab := newLab(t)
					lab.onApply["bad"] = func(s *server) { s.upgrade("nginx:amd64", "2") }
					b := &blow{lab: lab, shared: lab.lab(), options: lab.options()}
					var once sync.Once
					b.strike = func() { once.Do(func() { fault.strike(lab) }) }
					m.arrange(b)
					result, err := harness.Run(t.Context(), b.shared, scripted("bad"), b.options)
					if err != nil || result.Outcome != verdict.BootFailed || len(result.Findings) != 1 || result.Findings[0].ID != "PL706" {
						t.Errorf("outcome %s (%s), findings %v, error %v", result.Outcome, result.Reason, ids(result), err)
					}
					lab.driver.Break(nil)
					sweep(t, lab) // what could not be removed then
					lab.checkNothingLeft()
				})
			})
		}
	}
}

// TestAJournalWithoutTheFailedBootIsNotTakenForIts is a guest that died before its file systems were there.
func TestAJournalWithoutTheFailedBootIsNotTakenForIts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		dies(lab)
		var settled string
		lab.onApply["bad"] = func(s *server) {
			s.upgrade("nginx:amd64", "2")
			settled = strings.ReplaceAll(s.bootID(), "-", "")
		}
		lab.dead.run = func(line string) guest.Result {
			if !strings.Contains(line, "--list-boots") {
				t.Errorf("it was asked %q", line)
			}
			return guest.Result{Stdout: []byte("-1 " + failedBootID + " older\n 0 " + settled + " Wed Thu\nrm -rf /; nonsense\n")}
		}
		result := lab.run(scripted("bad"))
		if _, err := os.Stat(filepath.Join(result.RunDir, rundir.HelperJournal)); err == nil {
			t.Error("there is a journal")
		}
		if _, err := os.Stat(filepath.Join(result.RunDir, rundir.HelperFacts)); err != nil {
			t.Error(err)
		}
	})
}

// TestAGuestThatFallsSilentBeforeItsRebootIsReadToo holds that evidence is kept though nobody knows whose fault it is.
func TestAGuestThatFallsSilentBeforeItsRebootIsReadToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		lab.dead = aDisk()
		answer := lab.dead.run
		lab.onApply["bad"] = func(s *server) {
			s.upgrade("nginx:amd64", "2")
			now := strings.ReplaceAll(s.bootID(), "-", "")
			lab.dead.run = func(line string) guest.Result {
				if strings.Contains(line, "--list-boots") {
					return guest.Result{Stdout: []byte("-1 " + failedBootID + " older\n 0 " + now + " Wed Thu\n")}
				}
				if !strings.Contains(line, "--boot="+now) {
					t.Errorf("it was asked %q", line)
				}
				return answer(line)
			}
			s.guest.Down()
		}
		result := lab.run(scripted("bad"))
		if result.Outcome != verdict.Testbed || len(result.Findings) > 0 {
			t.Errorf("outcome %s (%s), findings %v", result.Outcome, result.Reason, ids(result))
		}
		for _, file := range []string{rundir.HelperJournal, rundir.HelperFacts} {
			if _, err := os.Stat(filepath.Join(result.RunDir, file)); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestAKeptGuestIsOnAgainAfterAHelper holds that whoever keeps a guest that is dead finds a domain that runs, on its own disk.
func TestAKeptGuestIsOnAgainAfterAHelper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		dies(lab)
		options := lab.options()
		options.Keep = true
		result := lab.runKept(scripted("bad"), options)
		domain, err := lab.driver.Lookup(t.Context(), "patchlab-"+result.Run+"-run")
		if err != nil {
			t.Fatal(err)
		}
		if state, err := domain.State(t.Context()); err != nil || state != hypervisor.StateRunning {
			t.Errorf("the kept guest is %s, %v", state, err)
		}
		if len(lab.dead.specs) != 1 {
			t.Errorf("helpers %v", lab.dead.specs)
		}
		sweep(t, lab)
		lab.checkNothingLeft()
	})
}

func TestTheKernelOfAnImagesHelpersIsTakenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := newLab(t)
		dies(lab)
		first := lab.run(scripted("bad"))
		lab.noKit = errors.New("it was asked for once more")
		second := lab.run(scripted("bad"))
		for _, result := range []report.Result{first, second} {
			if _, err := os.Stat(filepath.Join(result.RunDir, rundir.HelperFacts)); err != nil {
				t.Error(err)
			}
		}
	})
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Error(err)
		return
	}
	_, err = file.WriteString(text)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Error(err)
	}
}
