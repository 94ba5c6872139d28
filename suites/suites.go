// Package suites is the list of suites that come with patchlab, and runs those that a handoff names. Only cmd/patchlab
// links it.
package suites

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/handoff"
	"github.com/patchlab/patchlab/suites/boot"
	"github.com/patchlab/patchlab/suites/expect"
	"github.com/patchlab/patchlab/suites/lab"
	"github.com/patchlab/patchlab/suites/network"
	"github.com/patchlab/patchlab/suites/packages"
	"github.com/patchlab/patchlab/suites/services"
)

// BuiltIn returns the suites by the names that a scenario knows them by. Calling one declares its specs.
func BuiltIn() map[string]func() {
	return map[string]func(){
		"boot":     boot.Specs,
		"services": services.Specs,
		"network":  network.Specs,
		"packages": packages.Specs,
	}
}

// Names returns the names of the built-in suites, sorted.
func Names() []string { return slices.Sorted(maps.Keys(BuiltIn())) }

// Exec runs the suites and the expectations of the handoff that the environment names. It is called once in a process:
// ginkgo allows no more. Failed specs are in the report that the handoff asks for, not in the error.
func Exec() error {
	return lab.Execute("patchlab", declare)
}

func declare(h handoff.Handoff) error {
	builtIn := BuiltIn()
	for i, name := range h.Suites {
		if builtIn[name] == nil {
			return fmt.Errorf("suites[%d]: unknown suite %q (have %s)", i, name, strings.Join(Names(), ", "))
		}
	}
	for _, name := range h.Suites {
		builtIn[name]()
	}
	if len(h.Expect) > 0 {
		expect.Specs()
	}
	return nil
}
