package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.yaml.in/yaml/v4"
	"golang.org/x/term"

	"github.com/patchlab/patchlab/harness"
	"github.com/patchlab/patchlab/harness/dirs"
	"github.com/patchlab/patchlab/harness/progress"
)

// environment is what the commands take from the world around them. Flags, configuration and directories are filled in
// before a command runs.
type environment struct {
	Stdin  io.Reader // for `patchlab shell`; nil is this process's
	Stdout io.Writer // results
	Stderr io.Writer // progress and complaints
	Getenv func(string) string

	Connect string // libvirt URI; "" = the private libvirt that patchlab starts itself
	Output  string // table, json or yaml
	NoColor bool
	Quiet   bool // no progress
	Dirs    dirs.Dirs

	// Run executes scenarios, when it is set: tests put their own here.
	Run runner

	watching atomic.Pointer[progress.Sink] // shows progress at the moment

	memoryOnce     sync.Once
	memoryOfClones *harness.Memory // see memory
}

func newEnvironment() *environment {
	return &environment{Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}
}

// stdin is what a person types, or what comes through a pipe.
func (e *environment) stdin() io.Reader {
	if e.Stdin != nil {
		return e.Stdin
	}
	return os.Stdin
}

// sink shows progress on stderr: live where that is a terminal, else a line per change. Call the returned function
// before anything else is printed.
func (e *environment) sink() (progress.Sink, func()) {
	sink, end := e.view()
	e.watching.Store(&sink)
	return sink, func() {
		e.watching.Store(nil)
		end()
	}
}

func (e *environment) view() (progress.Sink, func()) {
	if e.Quiet {
		return progress.Discard{}, func() {}
	}
	if _, known := columns(e.Stderr); known && isTerminal(e.Stderr) && e.Getenv("TERM") != "dumb" {
		live := progress.NewLive(e.Stderr, func() int { return width(e.Stderr) }, e.colour(e.Stderr))
		return live, live.Close
	}
	return progress.NewLines(e.Stderr), func() {}
}

// notice tells the user something at any time, without disturbing a live view.
func (e *environment) notice(text string) {
	if sink := e.watching.Load(); sink != nil {
		(*sink).Emit(progress.Event{Kind: progress.Note, Step: "patchlab", Text: text, At: time.Now()})
		return
	}
	_, _ = fmt.Fprintf(e.Stderr, "patchlab: %s\n", text)
}

// colour tells whether to colour what goes to w.
func (e *environment) colour(w io.Writer) bool {
	return !e.NoColor && e.Getenv("NO_COLOR") == "" && e.Getenv("TERM") != "dumb" && isTerminal(w)
}

// width returns how many columns w has, or the 80 that logs and pipes are read with.
func width(w io.Writer) int {
	if n, known := columns(w); known {
		return n
	}
	return 80
}

func columns(w io.Writer) (int, bool) {
	file, ok := w.(*os.File)
	if !ok {
		return 0, false
	}
	n, _, err := term.GetSize(int(file.Fd()))
	return n, err == nil && n > 0
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// render writes a result to stdout in the form that --output asks for. Field names of yaml are those of json.
func (e *environment) render(value any, table func(io.Writer) error) error {
	switch e.Output {
	case "json":
		encoder := json.NewEncoder(e.Stdout)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(value); err != nil {
			return fmt.Errorf("writing the result: %w", err)
		}
		return nil
	case "yaml":
		plain, err := asPlain(value)
		if err != nil {
			return err
		}
		out, err := yaml.Dump(plain)
		if err != nil {
			return fmt.Errorf("writing the result: %w", err)
		}
		_, err = e.Stdout.Write(out)
		return err
	default:
		return table(e.Stdout)
	}
}

// text is a table that is written already.
func text(content string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, content)
		return err
	}
}

// asPlain turns a value into maps and lists by its json form, so that the yaml tags of types need not repeat it.
func asPlain(value any) (any, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("writing the result: %w", err)
	}
	var plain any
	if err := yaml.Load(data, &plain); err != nil {
		return nil, fmt.Errorf("writing the result: %w", err)
	}
	return plain, nil
}
