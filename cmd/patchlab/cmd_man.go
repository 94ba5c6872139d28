package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newManCommand writes the manual pages. It is for packagers and `make man`.
func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages into a directory",
		Long:   "Write the manual pages, one for each command, into a directory.",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE:   func(cmd *cobra.Command, args []string) error { return writeManual(cmd.Root(), args[0]) },
	}
}

func writeManual(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("writing the manual: %w", err)
	}
	root.DisableAutoGenTag = true // the same commit gives the same pages
	restore := root.Long
	root.Long += "\n\n" + manualTail()
	defer func() { root.Long = restore }()
	built := builtAt()
	err := doc.GenManTreeFromOpts(root, doc.GenManTreeOptions{
		Path: dir, CommandSeparator: "-",
		Header: &doc.GenManHeader{Section: "1", Source: "patchlab " + version(), Manual: "patchlab", Date: &built},
	})
	if err != nil {
		return fmt.Errorf("writing the manual: %w", err)
	}
	return nil
}

// manualTail is what `--help` says of all commands, in the form that the generator reads, which is Markdown.
func manualTail() string {
	codes := strings.Split(strings.TrimSpace(exitCodes()), "\n")
	var b strings.Builder
	b.WriteString("# EXIT STATUS\n\n")
	for _, line := range codes[1:] {
		code, meaning, _ := strings.Cut(strings.TrimSpace(line), "  ")
		fmt.Fprintf(&b, "**%s**: %s\n\n", code, strings.TrimSpace(meaning))
	}
	b.WriteString("# FILES\n\n")
	b.WriteString("**~/.config/patchlab/config.yaml**: defaults of this host; PATCHLAB_CONFIG names another file\n\n")
	b.WriteString("**/var/lib/patchlab**, **~/.local/share/patchlab**, **~/.local/state/patchlab**: images, and the evidence of runs\n")
	return b.String()
}

// builtAt is the time of the commit, or of no commit at all.
func builtAt() time.Time {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if at, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return at
			}
		}
	}
	return time.Unix(0, 0).UTC()
}
