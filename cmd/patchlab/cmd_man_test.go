package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/verdict"
)

// visible are the commands that people see, with those below them.
func visible(cmd *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, sub := range cmd.Commands() {
		if sub.Hidden || sub.Name() == "help" || sub.Name() == "completion" {
			continue
		}
		all = append(append(all, sub), visible(sub)...)
	}
	return all
}

func TestEveryCommandHasAManualPageAndAnExample(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	dir := filepath.Join(t.TempDir(), "man")
	if code := s.run("man", dir); code != 0 {
		t.Fatalf("it exits with %d: %s", code, s.stderr.String())
	}
	for _, cmd := range visible(newRootCommand(s.env)) {
		page := filepath.Join(dir, strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".1")
		if _, err := os.Stat(page); err != nil {
			t.Error(err)
		}
		if cmd.Example == "" && !cmd.HasSubCommands() && cmd.Flags().HasFlags() {
			t.Errorf("%s has flags and no example", cmd.CommandPath())
		}
	}
	main, err := os.ReadFile(filepath.Join(dir, "patchlab.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range verdict.ExitCodes() {
		if !bytes.Contains(main, []byte(code.Meaning)) {
			t.Errorf("patchlab.1 does not tell of exit code %d: %s", code.Code, code.Meaning)
		}
	}
}

func TestShellsGetACompletion(t *testing.T) {
	t.Parallel()
	for shell, want := range map[string]string{"bash": "__start_patchlab", "zsh": "#compdef patchlab", "fish": "complete -c patchlab"} {
		s := newSession(t)
		if code := s.run("completion", shell); code != 0 || !strings.Contains(s.stdout.String(), want) {
			t.Errorf("the completion of %s exits with %d and has no %q", shell, code, want)
		}
	}
}

func TestSchemasArePrinted(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"scenario", "image"} {
		s := newSession(t)
		var document map[string]any
		if code := s.run("schema", name); code != 0 || json.Unmarshal(s.stdout.Bytes(), &document) != nil || document["$schema"] == nil {
			t.Errorf("schema %s exits with %d: %s", name, code, s.stdout.String())
		}
	}
	s := newSession(t)
	if code := s.run("schema", "host"); code != verdict.ExitUsage || !strings.Contains(s.stderr.String(), "have image, scenario") {
		t.Errorf("an unknown schema exits with %d: %s", code, s.stderr.String())
	}
}
