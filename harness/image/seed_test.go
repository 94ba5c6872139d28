package image

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kdomanski/iso9660"
)

func TestASeedIsWhatCloudInitReads(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "seed.iso")
	check(t, Seed{Instance: "patchlab-web", AuthorizedKey: "ssh-ed25519 AAAA patchlab"}.Write(path))
	file, err := os.Open(path)
	check(t, err)
	t.Cleanup(func() { _ = file.Close() })
	disc, err := iso9660.OpenImage(file)
	check(t, err)
	if label, err := disc.Label(); err != nil || label != "cidata" {
		t.Errorf("label %q, error %v: cloud-init looks for cidata", label, err)
	}
	directory, err := disc.RootDir()
	check(t, err)
	children, err := directory.GetChildren()
	check(t, err)
	content := map[string]string{}
	for _, child := range children {
		text, err := io.ReadAll(child.Reader())
		check(t, err)
		content[child.Name()] = string(text)
	}
	if diff := cmp.Diff("{\"instance-id\":\"patchlab-web\"}\n", content["meta-data"]); diff != "" {
		t.Errorf("meta-data (-want +got):\n%s", diff)
	}
	config, ok := strings.CutPrefix(content["user-data"], "#cloud-config\n")
	var parsed struct {
		Bootcmd    [][]string `json:"bootcmd"`
		DeleteKeys *bool      `json:"ssh_deletekeys"`
		Users      []string   `json:"users"`
	}
	if err := json.Unmarshal([]byte(config), &parsed); !ok || err != nil {
		t.Fatalf("user-data %q: %v", content["user-data"], err)
	}
	if len(parsed.Bootcmd) != 1 || parsed.DeleteKeys == nil || *parsed.DeleteKeys || len(parsed.Users) != 0 {
		t.Errorf("user-data sets up more than the key, or not that: %s", config)
	}
}

func TestASeedsScriptReplacesOnlyItsOwnKey(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	tools := t.TempDir()
	check(t, os.WriteFile(filepath.Join(tools, "getent"), []byte("#!/bin/sh\necho root:x:0:0:root:"+home+":/bin/sh\n"), 0o755))
	check(t, os.WriteFile(filepath.Join(tools, "chown"), []byte("#!/bin/sh\n"), 0o755))
	run := func(key string) {
		command := exec.CommandContext(t.Context(), "sh", "-c", Seed{Instance: "i", AuthorizedKey: key}.keyScript())
		command.Env = []string{"PATH=" + tools + ":" + os.Getenv("PATH")}
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	file := filepath.Join(home, ".ssh", "authorized_keys")
	want := func(content string) {
		t.Helper()
		got, err := os.ReadFile(file)
		check(t, err)
		if diff := cmp.Diff(content, string(got)); diff != "" {
			t.Errorf("authorized_keys (-want +got):\n%s", diff)
		}
	}
	run("ssh-ed25519 ONE patchlab")
	want("ssh-ed25519 ONE patchlab\n")
	check(t, os.WriteFile(file, []byte("ssh-rsa ADMIN admin@example.org\nssh-ed25519 ONE patchlab\n"), 0o600))
	run("ssh-ed25519 TWO patchlab")
	want("ssh-rsa ADMIN admin@example.org\nssh-ed25519 TWO patchlab\n")
}

func TestASeedRefusesWhatWouldLeaveItsQuotes(t *testing.T) {
	t.Parallel()
	for name, seed := range map[string]Seed{
		"no instance": {AuthorizedKey: "ssh-ed25519 AAAA"},
		"a key":       {Instance: "i", AuthorizedKey: "ssh-ed25519 AAAA it's"},
		"a user":      {Instance: "i", User: "a b", AuthorizedKey: "ssh-ed25519 AAAA"},
	} {
		if err := seed.Write(filepath.Join(t.TempDir(), "seed.iso")); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
