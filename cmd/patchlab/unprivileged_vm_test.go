//go:build vmtest

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/patchlab/patchlab/harness/report"
	"github.com/patchlab/patchlab/harness/verdict"
)

// nobody owns nothing on any host. As root the test runs everything as this user; else as whoever runs it.
const nobody = "nobody"

// TestAnOrdinaryUserRunsAScenario is everything that a run does, as a user without any privilege or group: its own private
// libvirt, the clones of an image, the scenario whose verdict is known. It needs debian-12-web in PATCHLAB_IMAGES_DIR, or
// else where root keeps its images.
func TestAnOrdinaryUserRunsAScenario(t *testing.T) {
	scenario, err := filepath.Abs("../../scenarios/openssl-nginx.yaml")
	if err != nil {
		t.Fatal(err)
	}
	home := ordinaryHome(t)
	program := filepath.Join(home.dir, "patchlab")
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	home.takeImages(t)
	home.takeScenario(t, scenario)

	var stdout, stderr bytes.Buffer
	command := home.command(t, program, "run", "--output", "json", filepath.Join(home.dir, filepath.Base(scenario)))
	command.Stdout, command.Stderr = &stdout, &stderr
	err = command.Run()
	t.Logf("progress:\n%s", stderr.String())
	if err != nil {
		t.Fatalf("running the scenario: %v\n%s", err, stdout.String())
	}
	var result report.Result
	if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
		t.Fatalf("reading the result: %v\n%s", err, stdout.String())
	}
	if result.Outcome != verdict.Pass {
		t.Errorf("the outcome is %s, %+v", result.Outcome, result.Findings)
	}
	home.wantOwn(t, result.RunDir)
}

// home is where an ordinary user keeps everything.
type home struct {
	dir      string
	uid, gid int
}

func ordinaryHome(t *testing.T) home {
	t.Helper()
	h := home{uid: os.Getuid(), gid: os.Getgid()}
	if h.uid == 0 {
		found, err := user.Lookup(nobody)
		if err != nil {
			t.Fatal(err)
		}
		if h.uid, err = strconv.Atoi(found.Uid); err != nil {
			t.Fatal(err)
		}
		if h.gid, err = strconv.Atoi(found.Gid); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "pl") //nolint:usetesting // t.TempDir is too long for sockets, and closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
	if err := os.Chown(dir, h.uid, h.gid); err != nil {
		t.Fatal(err)
	}
	h.dir = dir
	return h
}

// takeImages copies the images: the store of another user is closed.
func (h home) takeImages(t *testing.T) {
	t.Helper()
	source := os.Getenv("PATCHLAB_IMAGES_DIR")
	if source == "" {
		source = "/var/lib/patchlab/images"
	}
	target := filepath.Join(h.dir, "images")
	for _, line := range [][]string{
		{"mkdir", target},
		{"cp", "-a", "--reflink=auto", filepath.Join(source, "debian-12-web"), target},
		{"chown", "-R", strconv.Itoa(h.uid) + ":" + strconv.Itoa(h.gid), target},
	} {
		if output, err := exec.CommandContext(t.Context(), line[0], line[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s (patchlab image build debian-12-web makes the image)", err, output)
		}
	}
}

// takeScenario copies the scenario: the checkout may be closed to the user.
func (h home) takeScenario(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.dir, filepath.Base(path)), content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// command runs as the user, in an environment that has nothing of ours.
func (h home) command(t *testing.T, program string, arguments ...string) *exec.Cmd {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, arguments...)
	command.Dir = h.dir
	command.Env = []string{
		"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "HOME=" + h.dir,
		"PATCHLAB_IMAGES_DIR=" + filepath.Join(h.dir, "images"), "PATCHLAB_RUNTIME_DIR=" + filepath.Join(h.dir, "r"),
	}
	if os.Getuid() == 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(h.uid), Gid: uint32(h.gid)}}
	}
	return command
}

// wantOwn checks that the evidence is the user's.
func (h home) wantOwn(t *testing.T, runDir string) {
	t.Helper()
	for _, name := range []string{"result.json", "console.log"} {
		info, err := os.Stat(filepath.Join(runDir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != h.uid || info.Size() == 0 {
			t.Errorf("%s: %d bytes, of the user %d, want some of %d", name, info.Size(), stat.Uid, h.uid)
		}
	}
}
