package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/guesttest"
	"github.com/patchlab/patchlab/harness/hypervisor"
)

// importBench is a bench with a foreign disk, whose guest takes the keys of some ways.
type importBench struct {
	*bench
	order  ImportOrder
	takes  []Way
	logins []string // the ways by which somebody got in, in turn
	survey string
}

const foreignSurvey = `id=debian
codename=bullseye
system=Debian GNU/Linux 11 (bullseye)
init=systemd
systemd=247
packager=dpkg
package=nginx 1.18
apt=yes
service=nginx.service
service=user@0.service
`

// fakeQEMUImgOfImports finds every file whole.
const fakeQEMUImgOfImports = `#!/bin/sh
case $1 in
check) echo '{"check-errors": 0, "image-end-offset": 65536}' ;;
measure) echo '{"required": 65536, "fully-allocated": 65536}' ;;
convert) for to; do :; done; echo "a disk" >"$to" ;;
esac
`

func newImportBench(t *testing.T) *importBench {
	t.Helper()
	b := &importBench{bench: newBench(t), takes: []Way{WayCredential, WaySeed, WayKey}, survey: foreignSurvey}
	replaceTool(t, "qemu-img", fakeQEMUImgOfImports)
	b.script.On("sh -s", func(context.Context, guest.Command) guest.Result { return guest.Result{Stdout: []byte(b.survey)} })
	b.script.OnPrefix("sh -s ", guesttest.Says(""))
	b.script.On("id -u", guesttest.Says("0\n"))
	b.driver.OnStart = func(spec hypervisor.DomainSpec) error {
		return os.WriteFile(spec.Console, []byte("Linux version 5.10\nWelcome to Debian!\nforeign login:\n"), 0o644)
	}
	file := filepath.Join(t.TempDir(), "foreign.qcow2")
	check(t, os.WriteFile(file, qcow2(nil), 0o644))
	b.order = ImportOrder{
		File: file, Name: "web", Firmware: hypervisor.BIOS, MemoryMiB: 512, VCPUs: 1, User: "root",
		NewKey: b.newKey,
		HostKey: func(context.Context, string) (string, error) {
			return "ssh-ed25519 AAAAC3Nz", nil
		},
	}
	return b
}

func (b *importBench) newKey(access Access) (Key, error) {
	return Key{
		AuthorizedKey: "ssh-ed25519 " + string(access.Way) + " patchlab",
		Dialer: func(_, hostKey string, _ io.Writer) (guest.Dialer, error) {
			if hostKey != "ssh-ed25519 AAAAC3Nz" {
				return nil, fmt.Errorf("dialled with the host key %q", hostKey)
			}
			return choosyDialer{b, access.Way}, nil
		},
	}, nil
}

// takeNothing makes a guest that refuses every key, and an import without patience for it.
func (b *importBench) takeNothing() { b.takes, b.Timeouts.Settle = nil, 10*time.Millisecond }

// choosyDialer lets in who comes by a way that the guest takes.
type choosyDialer struct {
	bench *importBench
	way   Way
}

func (d choosyDialer) Dial(ctx context.Context) (guest.Conn, error) {
	for _, way := range d.bench.takes {
		if way == d.way {
			d.bench.logins = append(d.bench.logins, string(way))
			return d.bench.script.Dial(ctx)
		}
	}
	return nil, errors.New("the guest refuses the key")
}

func TestAnImportKeepsTheFirstWayThatTheGuestTakes(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(b *importBench)
		want    Access
		lacks   []string // what the statement must name
	}{
		"a credential": {func(*importBench) {}, Access{Way: WayCredential, User: "root"}, nil},
		"cloud-init's seed": {
			func(b *importBench) { b.takes, b.survey = []Way{WaySeed}, b.survey+"instance=patchlab-web\n" },
			Access{Way: WaySeed, User: "root", Instance: "patchlab-web"},
			[]string{"systemd 247 takes no credentials"},
		},
		"a credential, in a guest that has taken the seed": {
			func(b *importBench) { b.survey += "instance=patchlab-web\n" },
			Access{Way: WayCredential, User: "root", Instance: "patchlab-web"},
			nil,
		},
		"the given key of a user with sudo": {
			func(b *importBench) { b.takes, b.order.User, b.order.KeyFile = []Way{WayKey}, "admin", "/keys/lab" },
			Access{Way: WayKey, User: "admin", KeyFile: "/keys/lab"},
			[]string{"share one key, /keys/lab", "admin's sudo"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newImportBench(t)
			test.prepare(b)
			imported, err := b.Import(t.Context(), b.order)
			if err != nil {
				t.Fatal(err)
			}
			opened, err := Open(t.Context(), b.Store, "web")
			if diff := cmp.Diff(imported, opened); err != nil || diff != "" {
				t.Errorf("error %v, image (-imported +opened):\n%s", err, diff)
			}
			if diff := cmp.Diff(test.want, opened.Access); diff != "" {
				t.Errorf("access (-want +got):\n%s", diff)
			}
			if opened.Release != "bullseye" || opened.Packages["nginx"] != "1.18" || !cmp.Equal(opened.Services, []string{"nginx.service"}) {
				t.Errorf("release %s, packages %v, services %v", opened.Release, opened.Packages, opened.Services)
			}
			said := strings.Join(opened.Imported.Lacks, "\n")
			for _, want := range append(test.lacks, "no guest agent runs") {
				if !strings.Contains(said, want) {
					t.Errorf("nothing says %q:\n%s", want, said)
				}
			}
			// The last login is the proof that a clone is reached that way.
			if want := []string{string(test.want.Way), string(test.want.Way)}; !cmp.Equal(b.logins, want) {
				t.Errorf("logins by %v, want %v", b.logins, want)
			}
			b.wantClean(t)
		})
	}
}

func TestAnImportSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	all := survey{Systemd: 257, Agent: true, Packager: "dpkg", APT: true, Codename: "trixie", Console: "ready"}
	if lacks := all.lacks(Access{}.withDefaults()); len(lacks) != 0 {
		t.Errorf("a guest that has everything lacks %q", lacks)
	}
	for want, change := range map[string]func(*survey){
		"no guest agent":          func(s *survey) { s.Agent = false },
		"serial console":          func(s *survey) { s.Console = "bootloader" },
		"neither dpkg nor rpm":    func(s *survey) { s.Packager = "" },
		"no APT":                  func(s *survey) { s.APT = false },
		"names no release":        func(s *survey) { s.Codename = "" },
		"have failed already: a.": func(s *survey) { s.Failed = []string{"a.service"} },
	} {
		one := all
		change(&one)
		if lacks := one.lacks(Access{}.withDefaults()); len(lacks) != 1 || !strings.Contains(lacks[0], want) {
			t.Errorf("%q is said as %q", want, lacks)
		}
	}
}

func TestAGuestThatCannotServeIsRefusedInWords(t *testing.T) {
	for name, test := range map[string]struct {
		breakIt func(t *testing.T, b *importBench)
		want    string
		ours    bool // not the file's fault
	}{
		"it lets nobody in": {
			func(_ *testing.T, b *importBench) { b.takeNothing() }, "give a private key that it knows (--key FILE", false,
		},
		"the given key does not help": {
			func(_ *testing.T, b *importBench) { b.takeNothing(); b.order.KeyFile = "/k" }, "authorized_keys", false,
		},
		"no sudo": {
			func(_ *testing.T, b *importBench) {
				b.takes, b.order.User = []Way{WaySeed}, "debian"
				b.script.On("id -u", guesttest.Exits(1, "", "sudo: a password is required"))
			}, "NOPASSWD", false,
		},
		"no systemd": {
			func(_ *testing.T, b *importBench) { b.survey = "init=busybox\n" }, `"busybox" and not systemd`, false,
		},
		"it never answers": {
			func(_ *testing.T, b *importBench) {
				b.Timeouts.Boot = 10 * time.Millisecond
				b.order.HostKey = func(context.Context, string) (string, error) { return "", guest.ErrLost }
			}, `its console came to the stage ready, and ends with "foreign login:"`, false,
		},
		"QEMU is killed": {
			func(_ *testing.T, b *importBench) {
				b.order.HostKey = func(ctx context.Context, _ string) (string, error) {
					domains, err := b.driver.Domains(ctx)
					for _, d := range domains {
						err = errors.Join(err, b.driver.Kill(d.Name))
					}
					return "", errors.Join(guest.ErrLost, err)
				}
			}, "domain ended", true,
		},
		"a damaged file": {
			func(t *testing.T, _ *importBench) {
				t.Helper()
				replaceTool(t, "qemu-img", "#!/bin/sh\necho '{\"check-errors\": 0, \"corruptions\": 3}'\nexit 2\n")
			}, "3 corruptions", false,
		},
		"a file that was cut off": {
			func(t *testing.T, _ *importBench) {
				t.Helper()
				replaceTool(t, "qemu-img", "#!/bin/sh\necho '{\"check-errors\": 0, \"image-end-offset\": 70000}'\n")
			}, "has 65536 bytes and speaks of 70000", false,
		},
		"a file that would fill the disk": {
			func(t *testing.T, _ *importBench) {
				t.Helper()
				replaceTool(t, "qemu-img", "#!/bin/sh\necho '{\"required\": 4000000000000000}'\n")
			}, "converting the disk needs", true,
		},
		"a raw disk": {
			func(t *testing.T, b *importBench) {
				t.Helper()
				check(t, os.WriteFile(b.order.File, make([]byte, 4096), 0o644))
			}, "qemu-img convert -f raw", false,
		},
		"a pipe": {
			func(_ *testing.T, b *importBench) { b.order.File = "/dev/null" }, "no ordinary file", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newImportBench(t)
			test.breakIt(t, b)
			_, err := b.Import(t.Context(), b.order)
			_, refused := errors.AsType[*RefusedError](err)
			_, unreachable := errors.AsType[*UnreachableError](err)
			if err == nil || !strings.Contains(err.Error(), test.want) || (refused || unreachable) == test.ours {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if _, err := b.Store.Find("web"); !errors.Is(err, ErrNotBuilt) {
				t.Errorf("the store has half an image: %v", err)
			}
			b.wantClean(t)
		})
	}
}

func TestASurveyBelievesNothingThatIsNoAnswer(t *testing.T) {
	t.Parallel()
	found := parseSurvey("id=../../etc\ncodename=x y\nsystem=Evil\x1b[31m OS\nsystemd=many\nservice=$(reboot)\nrubbish\npackage=a\npackage=b 1\n")
	want := survey{Codename: "x", System: found.System, Packages: map[string]string{"b": "1"}}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("survey (-want +got):\n%s", diff)
	}
	if strings.ContainsRune(found.System, '\x1b') {
		t.Errorf("a terminal would obey %q", found.System)
	}
}

func FuzzParseSurvey(f *testing.F) {
	f.Add(foreignSurvey)
	f.Fuzz(func(t *testing.T, text string) {
		found := parseSurvey(text)
		for _, word := range append(found.Services, found.ID, found.Codename, found.Instance, found.Packager) {
			if word != "" && !wordForm.MatchString(word) {
				t.Errorf("believed %q", word)
			}
		}
	})
}
