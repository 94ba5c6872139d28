//go:build vmtest

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchlab/patchlab/harness/report"
)

// aideScenario gives a guest aide with Debian's configuration. What changes nothing would not be run.
const aideScenario = `schema: 1
name: beside-aide
image: debian-12-web
given:
  files: [{from: ucf, to: /usr/bin/ucf, mode: "0755"}, {from: ucfr, to: /usr/bin/ucfr, mode: "0755"}]
  apt: {packages: [aide, aide-common], suite: bookworm}
increments: [{name: change, script: change.sh}]
reboot: []
suites: []
`

// ucf stands in the place of the program that puts each of Debian's 200 files of aide's configuration: without KVM that one takes six
// seconds for each.
const ucf = `#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
cp "$1" "$2"
`

// hide changes one byte of a file, whose times and size stay.
const hide = `hide() {
	touch -r "$1" /run/time
	printf '#' | dd of="$1" bs=1 seek=300 conv=notrunc status=none
	touch -r /run/time "$1"
}
`

// plant makes files that belong to no package.
const plant = `mkdir -p /boot/planted /usr/lib/planted; head -c 400 /dev/zero >/usr/sbin/planted`

// tamperings are done one by one after the first look; each path is where a watcher has to find something.
var tamperings = map[string]string{
	"/usr/bin/env": "hide /usr/bin/env",
	"/usr/lib/x86_64-linux-gnu/gconv/gconv-modules": "hide /usr/lib/x86_64-linux-gnu/gconv/gconv-modules",
	"/usr/bin/whoami":                   "chmod u+s /usr/bin/whoami",
	"/usr/bin/tac":                      "cp -p /usr/bin/tac /usr/bin/tac.new; mv /usr/bin/tac.new /usr/bin/tac; chmod o+w /usr/bin/tac",
	"/usr/bin/yes":                      "rm /usr/bin/yes",
	"/usr/bin/nl":                       "chown nobody /usr/bin/nl",
	"/usr/bin/fold":                     "/sbin/setcap cap_net_raw+ep /usr/bin/fold",
	"/etc/cron.d/planted":               "echo '* * * * * root true' >/etc/cron.d/planted",
	"/etc/ssh/sshd_config":              "hide /etc/ssh/sshd_config",
	"/etc/nginx":                        "chmod o+w /etc/nginx",
	"/etc/localtime":                    "ln -sfn /usr/share/zoneinfo/Pacific/Apia /etc/localtime",
	"/etc/deluser.conf":                 "rm /etc/deluser.conf",
	"/root/.ssh/authorized_keys2":       "mkdir -p /root/.ssh; echo ssh-ed25519 AAAA >/root/.ssh/authorized_keys2",
	"/boot/planted/vmlinuz":             "echo kernel >/boot/planted/vmlinuz",
	"/boot/grub/grub.cfg":               "hide /boot/grub/grub.cfg",
	"/usr/sbin/planted":                 "hide /usr/sbin/planted",
	"/usr/lib/planted/linked":           "ln /usr/sbin/planted /usr/lib/planted/linked",
	"/usr/lib/systemd/system/x.service": "echo '[Service]' >/usr/lib/systemd/system/x.service",
}

// TestPatchlabFindsWhatAideFinds compares two readings by patchlab with aide's, in the same guest and of the same changes. It needs
// debian-12-web, a mirror, and half an hour without KVM; what both took is in its log.
func TestPatchlabFindsWhatAideFinds(t *testing.T) {
	b := besideAide{t: t, program: filepath.Join(t.TempDir(), "patchlab")}
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", b.program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	b.keepGuest()
	b.inGuest(plant)
	b.facts("before.json")
	initSeconds := b.timed(func() {
		b.inGuest("aide --init --config=/etc/aide/aide.conf >/dev/null; cp /var/lib/aide/aide.db.new /var/lib/aide/aide.db")
	})
	idle := b.timed(func() { b.facts("idle.json") })
	for _, path := range slices.Sorted(maps.Keys(tamperings)) {
		b.inGuest(hide + tamperings[path])
	}
	ours := b.timed(func() { b.facts("after.json") })
	var byAide map[string]bool
	checkSeconds := b.timed(func() { byAide = b.aide() })
	byUs := b.differing("before.json", "after.json")
	t.Logf("aide --init %.1f s, --check %.1f s; patchlab facts %.1f s, and %.1f s of an idle guest: %.0f times as fast",
		initSeconds, checkSeconds, ours, idle, checkSeconds/ours)
	for _, path := range slices.Sorted(maps.Keys(tamperings)) {
		t.Logf("%s: aide %v, patchlab %v", path, byAide[path], byUs[path])
		if !byUs[path] {
			t.Errorf("%s was changed: %s; aide finds it: %v, patchlab does not", path, tamperings[path], byAide[path])
		}
	}
	if len(byAide) < len(tamperings)/2 {
		t.Errorf("aide was not what it should be: it found %v", byAide)
	}
}

type besideAide struct {
	t       *testing.T
	program string
	run     string // its directory
}

func (b *besideAide) command(stdin string, args ...string) []byte {
	b.t.Helper()
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(b.t.Context(), b.program, args...)
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := command.Run(); err != nil {
		b.t.Fatalf("patchlab %s: %v\n%s%s", strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes()
}

// keepGuest leaves a guest running until the test ends.
func (b *besideAide) keepGuest() {
	b.t.Helper()
	dir := b.t.TempDir()
	for name, content := range map[string]string{"beside-aide.yaml": aideScenario, "change.sh": "#!/bin/sh\ndate >/etc/beside-aide\n", "ucf": ucf, "ucfr": "#!/bin/sh\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
	var result report.Result
	output := b.command("", "run", "--keep", "--output", "json", filepath.Join(dir, "beside-aide.yaml"))
	if err := json.Unmarshal(output, &result); err != nil {
		b.t.Fatal(err)
	}
	b.run = result.RunDir
	b.t.Cleanup(func() {
		if err := exec.CommandContext(context.WithoutCancel(b.t.Context()), b.program, "gc", "--kept").Run(); err != nil {
			b.t.Errorf("ending the guest: %v", err)
		}
	})
}

func (b *besideAide) inGuest(script string) []byte {
	b.t.Helper()
	return b.command("set -eu\n"+script+"\n", "shell", b.run, "sh")
}

// facts keeps what the guest is now in the run directory.
func (b *besideAide) facts(name string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.run, name), b.command("", "facts", b.run, "--output", "json"), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// aide returns what differs from its database.
func (b *besideAide) aide() map[string]bool {
	b.t.Helper()
	// Its exit code tells what it found, in bits below 8.
	output := b.inGuest("aide --before=report_format=json --check --config=/etc/aide/aide.conf || [ $? -lt 8 ]")
	var told struct {
		Added, Removed, Changed map[string]any
	}
	if err := json.Unmarshal(output, &told); err != nil {
		b.t.Fatalf("%v: %.2000s", err, output)
	}
	found := map[string]bool{}
	for _, paths := range []map[string]any{told.Added, told.Removed, told.Changed} {
		for path := range paths {
			found[path] = true
		}
	}
	return found
}

func (b *besideAide) differing(before, after string) map[string]bool {
	b.t.Helper()
	output := b.command("", "diff", filepath.Join(b.run, before), filepath.Join(b.run, after), "--kind", "file", "--output", "json")
	var told struct {
		Drifts []struct{ Key struct{ Name string } }
	}
	if err := json.Unmarshal(output, &told); err != nil {
		b.t.Fatalf("%v: %.2000s", err, output)
	}
	found := map[string]bool{}
	for _, d := range told.Drifts {
		found[d.Key.Name] = true
	}
	return found
}

func (b *besideAide) timed(do func()) float64 {
	began := time.Now()
	do()
	return time.Since(began).Seconds()
}
