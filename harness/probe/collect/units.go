package collect

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/probe/protocol"
	"github.com/patchlab/patchlab/harness/probe/systemd"
)

// unitPatterns are the types of units that facts are about. Devices, scopes and slices follow from other things.
var unitPatterns = [...]string{"*.service", "*.socket", "*.timer", "*.mount", "*.target", "*.path"}

// units reads the init system's units: their state from systemd, all else from their files.
//
// systemd would tell that too, but under emulation its list of unit files costs 4.5 s, and asking each unit for its unit file
// state 2.3 s after every reload.
func units(ctx context.Context, src *Source) ([]fact.Fact, error) {
	if src.manager == nil {
		return nil, errors.New("reading units: systemd does not answer")
	}
	loaded, err := src.manager.Units(ctx, unitPatterns[:]...)
	if err != nil {
		return nil, err
	}
	files, err := readUnitFiles(src)
	errs := []error{err}
	ignored := ignoredUnits(src)
	var facts []fact.Fact
	seen := map[string]bool{}
	for _, u := range loaded {
		attributes := files.describe(u.Name)
		if ignored(u.Name) || incidental(u, files, attributes["enabled"]) {
			continue
		}
		seen[u.Name] = true
		attributes["load"], attributes["active"], attributes["sub"] = u.Load, u.Active, u.Sub
		result, err := unitResult(ctx, src.manager, u)
		errs = append(errs, err)
		attributes["result"] = result
		facts = append(facts, fact.Fact{Kind: fact.KindUnit, Name: u.Name, Attributes: attributes})
	}
	for _, name := range append(slices.Collect(maps.Keys(files.units)), files.linkedInstances()...) {
		if seen[name] || ignored(name) || !wantedUnit(name) {
			continue
		}
		facts = append(facts, fact.Fact{Kind: fact.KindUnit, Name: name, Attributes: files.describeIdle(name)})
	}
	return facts, errors.Join(errs...)
}

// incidental recognises units that systemd has in memory by chance: those that others refer to and that do not exist, and
// idle instances of templates that nobody enabled.
func incidental(u systemd.Unit, files *unitFiles, enabled string) bool {
	if u.Active != "inactive" {
		return false
	}
	instance := templateOf(u.Name) != "" && files.units[u.Name] == nil
	return u.Load == "not-found" || instance && !strings.HasPrefix(enabled, "enabled")
}

// describeIdle is [unitFiles.describe] with the state of a unit that systemd does not have in memory. Whether it keeps an
// inactive one is chance, so that both must read the same. A template and another name of a unit have no state.
func (u *unitFiles) describeIdle(name string) map[string]string {
	attributes := u.describe(name)
	if isTemplate(name) || attributes["enabled"] == "alias" {
		return attributes
	}
	attributes["load"], attributes["active"], attributes["sub"] = "loaded", "inactive", "dead"
	attributes["result"] = quietResult(name)
	if strings.HasPrefix(attributes["enabled"], "masked") {
		attributes["load"] = "masked"
	}
	return attributes
}

// unitResult asks only for units of which it is not known: one that is active or inactive has ended well, or else it would be
// failed. Each question costs 2 ms under emulation.
func unitResult(ctx context.Context, manager Manager, u systemd.Unit) (string, error) {
	if u.Active == "active" || u.Active == "inactive" {
		return quietResult(u.Name), nil
	}
	result, err := manager.Result(ctx, u.Name)
	if err != nil {
		return "", fmt.Errorf("reading units: %w", err)
	}
	return result, nil
}

func quietResult(name string) string {
	if strings.HasSuffix(name, ".target") {
		return "" // targets have no result
	}
	return "success"
}

func wantedUnit(name string) bool {
	for _, pattern := range unitPatterns {
		if strings.HasSuffix(name, pattern[1:]) {
			return true
		}
	}
	return false
}

// ignoredUnits recognises what belongs to those who look: patchlab's jobs, mount and waiting probe, and what a login brings up.
func ignoredUnits(src *Source) func(name string) bool {
	var lookers map[string]bool
	if table, _ := src.table(); table != nil { // its error is a note about processes
		lookers = table.lookers
	}
	return func(name string) bool {
		switch {
		case strings.HasPrefix(name, "patchlab-job-"), name == protocol.WaitUnit, name == "run-patchlab.mount", isLoginUnit(name),
			strings.HasPrefix(name, "run-credentials-"):
			return true
		}
		for slice := range lookers {
			uid := strings.TrimSuffix(strings.TrimPrefix(slice, "user-"), ".slice")
			switch name {
			case "user@" + uid + ".service", "user-runtime-dir@" + uid + ".service", "run-user-" + uid + ".mount":
				return true
			}
		}
		return false
	}
}
