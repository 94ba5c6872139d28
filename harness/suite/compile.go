package suite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// IsPackage tells whether a suite is the directory of a Go package, which is to be compiled before it can run.
func (r Runner) IsPackage(suite string) bool {
	if !isPath(suite) {
		return false
	}
	info, err := os.Stat(r.path(suite))
	return err == nil && info.IsDir()
}

// Compile makes the program of a suite from the Go package in a directory, with this host's go and in the module that the
// directory belongs to. The program is called like the directory and is put below to.
func (r Runner) Compile(ctx context.Context, suite, to string) (program string, err error) {
	act := "compiling the suite " + suite
	directory, err := filepath.Abs(r.path(suite))
	if err != nil {
		return "", fmt.Errorf("%s: %w", act, err)
	}
	tool, err := exec.LookPath("go")
	if err != nil {
		return "", fmt.Errorf("%s: this host has no go: install one, or compile it elsewhere with `go test -c` and name the result", act)
	}
	program = filepath.Join(to, filepath.Base(directory)+".test")
	command := exec.CommandContext(ctx, tool, "test", "-c", "-o", program, ".")
	command.Dir = directory
	output, err := command.CombinedOutput()
	if err != nil {
		const most = 4 << 10 // bytes of a compiler's complaints
		complaint := clean(string(output[:min(len(output), most)]))
		return "", fmt.Errorf("%s: %w:\n%s", act, err, complaint)
	}
	// A package without tests is no error for go.
	if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: it has no test: want a TestXxx that calls lab.RunSpecs (%s)", act, strings.TrimSpace(clean(string(output))))
	}
	return program, nil
}
