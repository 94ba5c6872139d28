// Package services holds the promises about services: what ran still runs, comes back by itself, and stays up.
package services

import (
	"bufio"
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/suites/lab"
)

// Specs declares the suite.
func Specs() {
	// The kinds of unit that do work for somebody. Mounts and targets are the business of the boot suite.
	work := lab.Suffixed(".service", ".socket", ".timer", ".path")

	Describe("services", lab.Services, func() {
		It("keeps every service active that was active", func() {
			Expect(lab.Drifts(fact.KindUnit)).To(lab.HaveNoDrift(work, lab.Left("active", "active")))
		})

		It("keeps every service enabled that was enabled", func() {
			Expect(lab.Drifts(fact.KindUnit)).To(lab.HaveNoDrift(work, lab.Left("enabled", "enabled")))
		})

		It("has no service failed that had not failed before", func() {
			Expect(lab.Drifts(fact.KindUnit)).To(lab.HaveNoDrift(work, lab.Became("active", "failed")))
		})

		It("starts nothing that was off", func() {
			Expect(lab.Drifts(fact.KindUnit)).To(lab.HaveNoDrift(work,
				lab.AnyOf(lab.Became("active", "active"), lab.Became("enabled", "enabled"))))
		})

		It("keeps every program running that ran", func() {
			Expect(lab.Drifts(fact.KindProcess)).To(lab.HaveNoDrift(lab.Lost))
		})

		It("restarts no service again and again", lab.AsksGuest, func(ctx SpecContext) {
			units := alive()
			if len(units) == 0 {
				return
			}
			answer := lab.Run(ctx, "systemctl show --property=Id,SubState,NRestarts -- "+strings.Join(units, " "))
			Expect(answer.ExitCode).To(BeZero(), "exit code of systemctl show, which says %q", answer.Stderr)
			loops := slices.DeleteFunc(restartLoops(answer.Stdout), func(l loop) bool { return lab.Excused(l.key()) })
			for _, l := range loops {
				lab.Blame(l.key())
			}
			if len(loops) > 0 {
				Fail(fmt.Sprintf("systemd restarts again and again: %v", loops))
			}
		}, lab.Timeout())
	})
}

// unitName is what systemd allows in a name: nothing that a shell would act on within single quotes.
var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]+$`)

// alive lists the services that have a process or wait for their next one, quoted for a shell. To ask about all services
// takes the guest twice the time: 0.9 s, under emulation, for the 29 of a lean Debian.
func alive() []string {
	var units []string
	for _, f := range lab.Facts(fact.KindUnit) {
		state, sub := f.Attribute("active"), f.Attribute("sub")
		if strings.HasSuffix(f.Name, ".service") && (state == "active" || state == "activating" || state == "reloading") &&
			sub != "exited" && unitName.MatchString(f.Name) {
			units = append(units, "'"+f.Name+"'")
		}
	}
	return units
}

// manyRestarts within one boot are no accident: systemd by default gives up after five within ten seconds, and a service
// that starts too early for its neighbours needs one or two.
const manyRestarts = 3

// loop is a service that does not stay up.
type loop struct {
	unit     string
	restarts int
}

func (l loop) key() fact.Key { return fact.Key{Kind: fact.KindUnit, Name: l.unit} }

// String is how a failure shows it.
func (l loop) String() string { return l.unit + ", restarted " + strconv.Itoa(l.restarts) + " times" }

// restartLoops reads the blocks of KEY=VALUE lines that systemctl show prints, one for each unit, parted by empty lines.
func restartLoops(shown []byte) []loop {
	var loops []loop
	var current loop
	var sub string
	finish := func() {
		if current.restarts >= manyRestarts || sub == "auto-restart" {
			loops = append(loops, current)
		}
		current, sub = loop{}, ""
	}
	lines := bufio.NewScanner(bytes.NewReader(shown))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), "=")
		switch key {
		case "":
			finish()
		case "Id":
			current.unit = value
		case "SubState":
			sub = value
		case "NRestarts":
			current.restarts, _ = strconv.Atoi(value) // a unit that cannot restart has none
		}
	}
	finish()
	return loops
}
