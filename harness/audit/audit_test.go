package audit_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchlab/patchlab/harness/audit"
	"github.com/patchlab/patchlab/harness/fact"
)

// machine is facts by their names, each with its attributes as "key=value" lines, for a test to spoil.
type machine map[string]string

const config = `if [ "${next_entry}" ] ; then
  set default="${next_entry}"
else
  set default="0"
fi
menuentry 'Debian' --id simple {
	search --no-floppy --fs-uuid --set=root d5
	linux /boot/vmlinuz-6.1.0-50 root=UUID=d5 ro
	initrd /boot/initrd.img-6.1.0-50
}
submenu 'Advanced' --id advanced {
	menuentry 'Debian 6.1.0-50' --id new {
		search --no-floppy --fs-uuid --set=root d5
		linux /boot/vmlinuz-6.1.0-50 root=UUID=d5 ro
		initrd /boot/initrd.img-6.1.0-50
	}
	menuentry 'Debian 6.1.0-44' --id old {
		search --no-floppy --fs-uuid --set=root d5
		linux /boot/vmlinuz-6.1.0-44 root=UUID=d5 ro
		initrd /boot/initrd.img-6.1.0-44
	}
}
`

// server is a guest with two kernels that boots.
func server() machine {
	return machine{
		"running":                             "release=6.1.0-50",
		"loader":                              "config=/boot/grub/grub.cfg|modified=1000|settings=900|text=" + config,
		"named (d5)/boot/vmlinuz-6.1.0-50":    "path=/boot/vmlinuz-6.1.0-50",
		"named (d5)/boot/vmlinuz-6.1.0-44":    "path=/boot/vmlinuz-6.1.0-44",
		"named (d5)/boot/initrd.img-6.1.0-50": "path=/boot/initrd.img-6.1.0-50",
		"named (d5)/boot/initrd.img-6.1.0-44": "path=/boot/initrd.img-6.1.0-44",
		"file /boot/vmlinuz-6.1.0-50":         "what=kernel|state=whole|size=8000000|changed=950|release=6.1.0-50|package=linux-image-6.1.0-50:amd64",
		"file /boot/vmlinuz-6.1.0-44":         "what=kernel|state=whole|size=8000000|changed=800|release=6.1.0-44|package=linux-image-6.1.0-44:amd64",
		"file /boot/initrd.img-6.1.0-50":      "what=initrd|state=whole|size=6000000|releases=6.1.0-50|modules=ext4,jbd2,virtio_blk",
		"file /boot/initrd.img-6.1.0-44":      "what=initrd|state=whole|size=6000000|releases=6.1.0-44|modules=ext4,jbd2,virtio_blk",
		"modules 6.1.0-50":                    "state=whole|needs=ext4,jbd2,virtio_blk",
		"modules 6.1.0-44":                    "state=whole|needs=ext4,jbd2,virtio_blk",
		"root":                                "device=/dev/vda1|fstype=ext4|needs=ext4,virtio_blk",
		"firmware":                            "kind=bios",
		"disk vda":                            "boot=true|state=grub",
		"disk vdb":                            "state=none",
		"device UUID=d5":                      "node=/dev/vda1",
		"device UUID=8FE8-32E7":               "node=/dev/vda2",
		"device /dev/vda1":                    "node=/dev/vda1",
		"fstab /":                             "source=UUID=d5|fstype=ext4|options=errors=remount-ro",
		"fstab /boot/efi":                     "source=UUID=8fe8-32e7|fstype=vfat",
		"fstab /srv":                          "source=server:/export|fstype=nfs",
		"fstab /tmp":                          "source=tmpfs|fstype=tmpfs",
		"fstab /media/cdrom0":                 "source=/dev/sr0|fstype=udf|options=user,noauto",
		"room /boot":                          "mount=/|fstype=ext4|free=2000000000|total=4000000000|inodes=100000",
		"target":                              "unit=multi-user.target|state=whole",
		"emergency":                           "locked=true",
		"autoremove":                          "packages=",
		"check nginx":                         "unit=nginx.service|exit=0|command=nginx -t",
	}
}

func (m machine) set() fact.Set {
	var facts []fact.Fact
	for name, text := range m {
		f := fact.Fact{Kind: fact.KindBoot, Name: name, Attributes: map[string]string{}}
		for pair := range strings.SplitSeq(text, "|") {
			if key, value, _ := strings.Cut(pair, "="); value != "" {
				f.Attributes[key] = value
			}
		}
		facts = append(facts, f)
	}
	return fact.NewSet(facts...)
}

// with changes facts; "" takes one away.
func (m machine) with(facts machine) machine {
	changed := maps.Clone(m)
	maps.Copy(changed, facts)
	maps.DeleteFunc(changed, func(_, text string) bool { return text == "" })
	return changed
}

// edit replaces within a fact.
func (m machine) edit(name, old, replacement string) machine {
	return m.with(machine{name: strings.ReplaceAll(m[name], old, replacement)})
}

// efi makes the server one with EFI firmware.
func (m machine) efi() machine {
	return m.with(machine{
		"firmware": "kind=efi|order=0002,0001", "disk vda": "", "disk vdb": "",
		"efi 0001":                              `title=debian|partition=c1ad|file=\EFI\debian\shimx64.efi|active=true`,
		"efi 0002":                              "title=EFI Internal Shell|active=true",
		"esp /boot/efi":                         "partition=c1ad",
		"file /boot/efi/EFI/debian/shimx64.efi": "what=loader|state=whole|size=900000",
		"file /boot/efi/EFI/boot/bootx64.efi":   "what=loader|state=whole|size=900000",
		"file /boot/efi/EFI/debian/grub.cfg":    "what=stub|text=search.fs_uuid d5 root\n",
		"room /boot/efi":                        "mount=/boot/efi|fstype=vfat|free=50000000|total=60000000",
	})
}

func told(findings []audit.Finding) []string {
	var lines []string
	for _, f := range findings {
		lines = append(lines, f.ID+" "+string(f.Severity)+" "+f.Subject.String())
	}
	slices.Sort(lines)
	return lines
}

func TestWhatWouldNotComeBackIsFound(t *testing.T) {
	t.Parallel()
	const locked = "PL712 warning user root"
	third := machine{
		"file /boot/vmlinuz-6.1.0-99": "what=kernel|state=whole|size=8000000|changed=2000|release=6.1.0-99",
		"modules 6.1.0-99":            "state=whole|needs=ext4,jbd2,virtio_blk",
	}
	for _, c := range []struct {
		name string
		now  machine
		want []string
	}{
		{"nothing changed", server(), nil},
		{"nothing changed, with EFI firmware", server().efi(), nil},
		{
			"the kernel is gone", server().with(machine{"file /boot/vmlinuz-6.1.0-50": "what=kernel|state=missing"}),
			[]string{"PL701 error file /boot/vmlinuz-6.1.0-50", locked},
		},
		{
			"the kernel is cut off", server().with(machine{"file /boot/vmlinuz-6.1.0-50": "what=kernel|state=cut off: 1 bytes of 2"}),
			[]string{"PL701 error file /boot/vmlinuz-6.1.0-50", locked},
		},
		{
			"the initrd is gone", server().with(machine{"file /boot/initrd.img-6.1.0-50": "what=initrd|state=missing"}),
			[]string{"PL701 error file /boot/initrd.img-6.1.0-50", locked},
		},
		{
			"the initrd is cut off", server().with(machine{"file /boot/initrd.img-6.1.0-50": "what=initrd|state=cut off: zstd"}),
			[]string{"PL701 error file /boot/initrd.img-6.1.0-50", locked},
		},
		{
			"the entry has no initrd", server().edit("loader", "\tinitrd /boot/initrd.img-6.1.0-50\n", ""),
			[]string{"PL701 error file /boot/vmlinuz-6.1.0-50", locked},
		},
		{
			"a kernel with everything in it needs no initrd",
			server().edit("loader", "\tinitrd /boot/initrd.img-6.1.0-50\n", "").with(machine{"modules 6.1.0-50": "state=whole"}), nil,
		},
		{
			"the modules are gone", server().with(machine{"modules 6.1.0-50": "state=missing"}),
			[]string{"PL701 error file /usr/lib/modules/6.1.0-50", locked},
		},
		{
			"a driver is gone", server().with(machine{"modules 6.1.0-50": "state=whole|needs=ext4|lacks=virtio_blk"}),
			[]string{"PL701 error file /usr/lib/modules/6.1.0-50", locked},
		},
		{
			"the initrd has no modules", server().with(machine{"file /boot/initrd.img-6.1.0-50": "what=initrd|state=whole"}),
			[]string{"PL701 error file /boot/initrd.img-6.1.0-50", locked},
		},
		{
			"the initrd lacks a driver", server().edit("file /boot/initrd.img-6.1.0-50", ",virtio_blk", ""),
			[]string{"PL701 error file /boot/initrd.img-6.1.0-50", locked},
		},
		{
			"the initrd is another kernel's", server().edit("file /boot/initrd.img-6.1.0-50", "releases=6.1.0-50", "releases=6.1.0-44"),
			[]string{"PL701 error file /boot/initrd.img-6.1.0-50", locked},
		},
		{"an initrd that nobody can unpack is no fault", server().edit("file /boot/initrd.img-6.1.0-50", "state=whole", "state=unknown: lzop"), nil},
		{"root= names no device", server().edit("loader", "root=UUID=d5", "root=UUID=d6"), []string{"PL705 error mount /", locked}},
		{
			"an entry that is not the default leads nowhere", server().with(machine{"file /boot/vmlinuz-6.1.0-44": "what=kernel|state=missing"}),
			[]string{"PL702 error kernel installed:6.1.0-44", "PL703 warning file /boot/vmlinuz-6.1.0-44"},
		},

		{
			"the configuration is empty", server().with(machine{"loader": "config=/boot/grub/grub.cfg|modified=2000"}),
			[]string{"PL703 error file /boot/grub/grub.cfg", locked},
		},
		{
			"the configuration is gone", server().with(machine{"loader": "config=/boot/grub/grub.cfg|state=missing"}),
			[]string{"PL703 error file /boot/grub/grub.cfg", locked},
		},
		{
			"the configuration is cut off", server().edit("loader", "initrd.img-6.1.0-44\n\t}\n}\n", "initrd.img-6.1.0-44\n"),
			[]string{"PL703 error file /boot/grub/grub.cfg", locked},
		},
		{
			"settings that no boot goes by yet", server().edit("loader", "settings=900", "settings=1001"),
			[]string{"PL703 warning file /etc/default/grub"},
		},
		{"no disk starts the boot loader", server().edit("disk vda", "grub", "none"), []string{"PL703 error boot firmware", locked}},
		{
			"the boot loader's core is another", server().edit("disk vda", "grub", "grub: the core image differs"),
			[]string{"PL703 error boot disk vda", locked},
		},
		{"another disk starts the boot loader", server().edit("disk vda", "grub", "none").edit("disk vdb", "none", "grub"), nil},

		{
			"the firmware's entry leads nowhere", server().efi().with(machine{"file /boot/efi/EFI/debian/shimx64.efi": ""}),
			[]string{"PL703 warning boot efi 0001"},
		},
		{
			"nor is there anything by the fallback path",
			server().efi().with(machine{"file /boot/efi/EFI/debian/shimx64.efi": "", "file /boot/efi/EFI/boot/bootx64.efi": ""}),
			[]string{"PL703 error boot firmware", "PL703 warning boot efi 0001", locked},
		},
		{"the fallback path alone will do", server().efi().with(machine{"efi 0001": "", "file /boot/efi/EFI/debian/shimx64.efi": ""}), nil},
		{
			"the configuration on the system partition leads nowhere", server().efi().edit("file /boot/efi/EFI/debian/grub.cfg", "d5", "d6"),
			[]string{"PL703 error file /boot/efi/EFI/debian/grub.cfg", locked},
		},

		{"a kernel was installed and nothing told the boot loader", server().with(third), []string{"PL709 error kernel installed:6.1.0-99"}},
		{
			"the newest kernel is in the menu, and another is chosen", server().edit("loader", `default="0"`, `default="advanced>old"`),
			[]string{"PL709 error kernel installed:6.1.0-50"},
		},
		{
			"the running kernel was replaced by another",
			server().with(third).with(machine{
				"file /boot/vmlinuz-6.1.0-50": "what=kernel|state=missing", "file /boot/vmlinuz-6.1.0-44": "what=kernel|state=missing",
			}),
			[]string{
				"PL701 error file /boot/vmlinuz-6.1.0-50", "PL702 error kernel installed:6.1.0-50",
				"PL703 warning file /boot/vmlinuz-6.1.0-44", "PL709 error kernel installed:6.1.0-99", locked,
			},
		},
		{
			"the fallback goes with the next clearing up", server().with(machine{"autoremove": "packages=linux-image-6.1.0-44"}),
			[]string{"PL702 warning kernel installed:6.1.0-44"},
		},
		{"something else goes with the next clearing up", server().with(machine{"autoremove": "packages=libfoo"}), nil},

		{"no room for the next kernel", server().edit("room /boot", "free=2000000000", "free=13000000"), []string{"PL704 error mount /"}},
		{"no room for a file", server().edit("room /boot", "inodes=100000", "inodes=3"), []string{"PL704 error mount /"}},
		{
			"no room for another boot loader", server().efi().edit("room /boot/efi", "free=50000000", "free=1000"),
			[]string{"PL704 warning mount /boot/efi"},
		},

		{
			"a mount whose disk is not there", server().with(machine{"fstab /data": "source=UUID=gone|fstype=ext4|options=defaults"}),
			[]string{"PL705 error mount /data", locked},
		},
		{
			"one that may be missing", server().with(machine{"fstab /data": "source=LABEL=gone|fstype=ext4|options=defaults,nofail"}),
			[]string{"PL705 warning mount /data"},
		},
		{"one by its path", server().with(machine{"fstab /data": "source=/dev/disk/by-uuid/d5|fstype=ext4"}), nil},
		{
			"one by a path that is gone", server().with(machine{"fstab /data": "source=/dev/vdz1|fstype=ext4"}),
			[]string{"PL705 error mount /data", locked},
		},
		{"one on a volume, which has two names", server().with(machine{"fstab /data": "source=/dev/vg/lv|fstype=ext4"}), nil},
		{
			"swap that is gone", server().with(machine{"fstab swap UUID=gone": "source=UUID=gone|fstype=swap|options=sw"}),
			[]string{"PL705 warning boot fstab swap UUID=gone"},
		},
		{
			"a volume that cannot be unlocked", server().with(machine{"crypttab data": "source=UUID=gone"}),
			[]string{"PL705 error boot crypttab data", locked},
		},

		{"there is nothing to boot to", server().edit("target", "whole", "missing"), []string{"PL701 error unit default.target", locked}},
		{
			"a service without its program", server().with(machine{"program web.service": "path=/usr/bin/web|state=missing"}),
			[]string{"PL103 error unit web.service"},
		},
		{"a daemon refuses its configuration", server().edit("check nginx", "exit=0", "exit=1"), []string{"PL303 error unit nginx.service"}},
		{
			"sudo refuses its rules", server().with(machine{"check visudo": "exit=1|command=visudo -c|text=/etc/sudoers.d/x:1: syntax error"}),
			[]string{"PL303 error boot check visudo"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			before := server()
			if c.now["firmware"] != before["firmware"] {
				before = before.efi()
			}
			old, found := audit.Compare(before.set(), c.now.set(), "facts/audit.json")
			if diff := cmp.Diff(c.want, told(found)); diff != "" || len(old) > 0 {
				t.Errorf("findings (-want +got):\n%s\nbefore: %v", diff, told(old))
			}
			for _, f := range found {
				if f.Title == "" || f.Remedy == "" || len(f.Evidence) != 1 || f.Evidence[0].File != "facts/audit.json" {
					t.Errorf("a finding that says too little: %+v", f)
				}
			}
		})
	}
}

// The recorded ones are those of unpatched guests, as the probe read them.
func TestAnUnpatchedGuestGivesNoFalseAlarm(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("testdata/*.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("no recorded facts: %v", err)
	}
	for _, name := range names {
		if old, found := audit.Compare(recorded(t, name), recorded(t, name), ""); len(old)+len(found) > 0 {
			t.Errorf("%s: %v, %v", name, told(old), told(found))
		}
	}
}

func recorded(t *testing.T, name string) fact.Set {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var facts fact.Set
	if err := json.Unmarshal(content, &facts); err != nil {
		t.Fatal(err)
	}
	return facts
}

// What a fault on a real machine looks like is made from its record.
func TestAFaultOfARealMachineIsFound(t *testing.T) {
	t.Parallel()
	const kernel, initrd = "file /boot/vmlinuz-6.1.0-50-amd64", "file /boot/initrd.img-6.1.0-50-amd64"
	web := recorded(t, "testdata/debian-12-web.json")
	for _, c := range []struct {
		fact, attribute, value, want string
	}{
		{kernel, "state", "missing", "PL701 error file /boot/vmlinuz-6.1.0-50-amd64"},
		{initrd, "modules", "fan", "PL701 error file /boot/initrd.img-6.1.0-50-amd64"},
		{"fstab /", "source", "UUID=gone", "PL705 error mount /"},
		{"disk vda", "state", "none", "PL703 error boot firmware"},
		{"room /boot", "free", "1000", "PL704 error mount /"},
	} {
		var spoilt []fact.Fact
		for _, f := range web.All() {
			f.Attributes = maps.Clone(f.Attributes)
			if f.Name == c.fact {
				f.Attributes[c.attribute] = c.value
			}
			spoilt = append(spoilt, f)
		}
		if _, found := audit.Compare(web, fact.NewSet(spoilt...), ""); !slices.Contains(told(found), c.want) {
			t.Errorf("%s with %s %s: %v, want %s", c.fact, c.attribute, c.value, told(found), c.want)
		}
	}
}

func TestWhatWasSoBeforeIsOld(t *testing.T) {
	t.Parallel()
	rotten := server().with(machine{"fstab /data": "source=UUID=gone|fstype=ext4"}).with(machine{"file /boot/vmlinuz-6.1.0-44": "what=kernel|state=missing"})
	old, found := audit.Compare(rotten.set(), rotten.set(), "")
	want := []string{"PL703 warning file /boot/vmlinuz-6.1.0-44", "PL705 error mount /data"}
	if diff := cmp.Diff(want, told(old)); diff != "" {
		t.Errorf("old (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, told(found)); diff != "" { // no word of root's password: nothing new stops the boot
		t.Errorf("found (-want +got):\n%s", diff)
	}
}

func TestWhatWasNeverReadIsNotJudged(t *testing.T) {
	t.Parallel()
	if old, found := audit.Compare(fact.NewSet(), fact.NewSet(), ""); len(old)+len(found) > 0 {
		t.Errorf("%v, %v", told(old), told(found))
	}
	// A guest with another boot loader: nothing is known of it, and nothing is said.
	other := server().with(machine{"loader": "", "disk vda": "state=other|boot=true"})
	if _, found := audit.Compare(other.set(), other.set(), ""); len(found) > 0 {
		t.Errorf("%v", told(found))
	}
}

func TestALockedRootIsToldWhenThePatchLocksIt(t *testing.T) {
	t.Parallel()
	open := server().edit("emergency", "locked=true", "locked=false")
	if _, found := audit.Compare(open.set(), server().set(), ""); !slices.Equal(told(found), []string{"PL712 warning user root"}) {
		t.Errorf("%v", told(found))
	}
	forced := server().with(machine{"emergency": "locked=true|forced=true", "fstab /data": "source=UUID=gone|fstype=ext4"})
	if _, found := audit.Compare(server().set(), forced.set(), ""); !slices.Equal(told(found), []string{"PL705 error mount /data"}) {
		t.Errorf("%v", told(found))
	}
}

func TestADaemonsWordsAreQuotedAndTheFileIsNamed(t *testing.T) {
	t.Parallel()
	broken := server().with(machine{"check nginx": "unit=nginx.service|exit=1|command=nginx -t|text=\n2026/11/23 04:56:40 [emerg] 454#454: unknown directive \"x\" in /etc/nginx/conf.d/50-x.conf:1\n"})
	_, found := audit.Compare(server().set(), broken.set(), "")
	if len(found) != 1 || found[0].About.Name != "/etc/nginx/conf.d/50-x.conf" || !strings.Contains(found[0].Title, ": [emerg] unknown directive") ||
		!strings.Contains(found[0].Remedy, "/etc/nginx/conf.d/50-x.conf") || !strings.Contains(strings.Join(found[0].Evidence[0].Lines, "\n"), "\n2026/11/23 04:56:40 [emerg] 454#454: unknown") {
		t.Errorf("%+v", found)
	}
}

func FuzzCompare(f *testing.F) {
	f.Add(config, "6.1.0-50", "UUID=d5", "/boot/vmlinuz-6.1.0-50")
	f.Add("menuentry a {\nlinux b\n}\n", "~1a", "\"=/dev/", "")
	f.Fuzz(func(t *testing.T, config, release, source, path string) {
		hostile := server().with(machine{
			"loader": "config=" + path + "|text=" + config, "fstab /x": "source=" + source, "file " + path: "what=kernel|state=whole|release=" + release,
			"running": "release=" + release, "file /boot/vmlinuz-" + release: "what=kernel|state=whole", "check x": "exit=1|text=" + config,
		})
		_, found := audit.Compare(server().set(), hostile.set(), "")
		for _, finding := range found {
			if finding.ID == "" || finding.Title == "" {
				t.Errorf("a finding that says nothing: %+v", finding)
			}
		}
	})
}
