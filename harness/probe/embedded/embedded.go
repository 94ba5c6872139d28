// Package embedded carries the built probe, which `make build` puts into its bin directory. A checkout in which that was not
// done compiles all the same and says what is missing when the probe is wanted.
package embedded

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
)

//go:embed all:bin
var files embed.FS

// ErrMissing is returned by a build without a probe.
var ErrMissing = errors.New("this build has no probe: run make build")

// Probe returns the probe for the guest, a static program for Linux on amd64.
func Probe() ([]byte, error) {
	content, err := files.ReadFile("bin/patchlab-probe")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrMissing
	}
	if err != nil {
		return nil, fmt.Errorf("reading the embedded probe: %w", err)
	}
	return content, nil
}
