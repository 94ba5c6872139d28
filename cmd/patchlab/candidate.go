package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/patchlab/patchlab/harness/image"
	"github.com/patchlab/patchlab/harness/image/manifest"
	"github.com/patchlab/patchlab/harness/scenario"
	"github.com/patchlab/patchlab/images"
	"github.com/patchlab/patchlab/scenarios"
)

// candidate is a scenario given by flags.
type candidate struct {
	image    string
	upgrades []string // each a comma-separated list: one increment
	pending  string
	suite    string
	mode     string
}

// loadAll reads all scenarios, and reports the mistakes of all of them together. Call remove when they are not needed
// any more, also after an error.
func loadAll(env *environment, options runOptions) (loaded []scenario.Scenario, remove func(), err error) {
	var own builtIn
	modes, err := rebootModes(options.reboot)
	if err := errors.Join(err, options.check(), checkImage(env, options.candidate.image)); err != nil {
		return nil, own.remove, err
	}
	if len(options.scenarios) == 0 {
		s, err := options.candidate.scenario()
		if err != nil {
			return nil, own.remove, err
		}
		loaded = []scenario.Scenario{s}
	}
	var problems []error
	for _, name := range options.scenarios {
		file, err := own.file(name)
		if err == nil {
			var s scenario.Scenario
			s, err = scenario.Load(file)
			loaded = append(loaded, s)
		}
		problems = append(problems, err)
	}
	for i := range loaded {
		if options.reboot != "" {
			loaded[i].Reboot = modes
		}
		if !options.rescue {
			loaded[i].LeaveOutRescue()
		}
		if options.candidate.image != "" {
			loaded[i].Image = options.candidate.image
		}
	}
	return loaded, own.remove, errors.Join(problems...)
}

// builtIn writes the scenarios that come with patchlab to a temporary directory, because their payloads are files.
type builtIn struct{ dir string }

// file returns the path of a scenario. What is there as a file goes before what comes with patchlab.
func (b *builtIn) file(name string) (string, error) {
	if _, err := os.Stat(name); err == nil || strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
		return name, nil
	}
	if b.dir == "" {
		dir, err := os.MkdirTemp("", "patchlab-scenario-")
		if err != nil {
			return "", fmt.Errorf("making a temporary directory: %w", err)
		}
		b.dir = dir
	}
	return scenarios.Extract(name, b.dir)
}

func (b *builtIn) remove() {
	if b.dir != "" {
		_ = os.RemoveAll(b.dir) // below the temporary directory, which is cleaned anyway
	}
}

// check reports flags that do not go together.
func (o runOptions) check() error {
	c := o.candidate
	named := len(c.upgrades) > 0 || c.pending != "" || c.suite != "" || c.mode != ""
	switch {
	case len(o.scenarios) > 0 && named:
		return errors.New("a scenario names its own candidate: leave out --upgrade, --pending, --suite, --mode")
	case len(o.scenarios) > 0:
		return nil
	case !named && c.image == "":
		return fmt.Errorf("there is nothing to run: name a scenario (a file, or one of %s), or --image with --upgrade or --pending",
			strings.Join(scenarios.Names(), ", "))
	case c.image == "":
		return errors.New("--image is missing: `patchlab image list` shows what there is")
	case len(c.upgrades) == 0 && c.pending == "":
		return errors.New("there is nothing to install: name packages with --upgrade, or a suite with --pending")
	case len(c.upgrades) > 0 && c.pending != "":
		return errors.New("--pending installs everything: leave out --upgrade")
	case c.pending != "" && c.suite != "":
		return errors.New("--pending names the suite already: leave out --suite")
	}
	return nil
}

// noReboot is the value of --reboot that stands for none.
const noReboot = "none"

// rebootModes reads --reboot: ways to reboot, one after the other, or none.
func rebootModes(list string) ([]scenario.Reboot, error) {
	modes := []scenario.Reboot{}
	if list == noReboot {
		return modes, nil
	}
	for word := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		mode := scenario.Reboot(word)
		switch {
		case !slices.Contains(scenario.RebootModes(), word):
			return nil, fmt.Errorf("--reboot: unknown value %q (have %s, %s)", word, strings.Join(scenario.RebootModes(), ", "), noReboot)
		case slices.Contains(modes, mode):
			return nil, fmt.Errorf("--reboot: %s is there twice", word)
		}
		modes = append(modes, mode)
	}
	return modes, nil
}

// scenario writes what the flags say as a scenario file, so that it is checked, and kept as evidence, like any other.
func (c candidate) scenario() (scenario.Scenario, error) {
	suite := cmp.Or(c.pending, c.suite, "security")
	apt := func(packages []string) map[string]any {
		wanted := map[string]any{"suite": suite}
		if len(packages) > 0 {
			wanted["packages"] = packages
		}
		if c.mode != "" {
			wanted["mode"] = c.mode
		}
		return wanted
	}
	name := "pending-" + suite
	increments := []map[string]any{{"name": "pending", "apt": apt(nil)}}
	if c.pending == "" {
		increments = nil
		var names []string
		for _, list := range c.upgrades {
			packages := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
			if len(packages) == 0 {
				return scenario.Scenario{}, fmt.Errorf("--upgrade %q names no package", list)
			}
			names = append(names, incrementName(packages[0]))
			increments = append(increments, map[string]any{"name": incrementName(packages[0]), "apt": apt(packages)})
		}
		name = "upgrade-" + strings.Join(names, "-")
	}
	data, err := yaml.Dump(map[string]any{
		"schema": scenario.Schema, "name": name[:min(len(name), 60)], "image": c.image, "increments": increments,
	})
	if err != nil {
		return scenario.Scenario{}, fmt.Errorf("writing the scenario: %w", err)
	}
	return scenario.Parse("command line", data, ".")
}

// incrementName makes a package's name (libssl3:amd64, g++) one for an increment.
func incrementName(name string) string {
	name, _, _ = strings.Cut(name, ":")
	return strings.NewReplacer("+", "p", "_", "-").Replace(name)
}

// checkImage tells of a slip in an image's name before anything starts. One that could be built is known, too.
func checkImage(env *environment, name string) error {
	if name == "" {
		return nil
	}
	store := image.Store{Dir: env.Dirs.Images}
	if _, err := store.Find(name); err == nil {
		return nil
	}
	_, err := manifest.Load(images.FS, name)
	return err
}
