package scenario

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/patchlab/patchlab/harness/strictyaml"
)

// Load reads a scenario file, with its defaults. All its mistakes are returned at once, as [strictyaml.Problems].
func Load(path string) (Scenario, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Scenario{}, fmt.Errorf("there is no scenario file %s", path)
	case err == nil && info.IsDir():
		return Scenario{}, fmt.Errorf("%s is a directory, want a scenario file", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Scenario{}, fmt.Errorf("reading the scenario: %w", err)
	}
	return Parse(path, data, filepath.Dir(path))
}

// Parse reads the content of a scenario file. file is used in messages only; payload paths are relative to dir.
func Parse(file string, data []byte, dir string) (Scenario, error) {
	var s Scenario
	doc, problems := strictyaml.Decode(file, data, &s)
	if doc == nil {
		return Scenario{}, problems.Err()
	}
	s.Source = data
	var err error
	if s.Dir, err = filepath.Abs(dir); err != nil {
		return Scenario{}, fmt.Errorf("finding the scenario's directory: %w", err)
	}
	v := validator{doc: doc, payload: payload{s.Dir}}
	v.scenario(&s)
	s.fillDefaults()
	if err := doc.Err(); err != nil {
		return Scenario{}, err
	}
	return s, nil
}

// Suites are the built-in suites of this version, in the order in which they run.
func Suites() []string { return []string{"boot", "services", "network", "packages"} }

// fillDefaults gives what the file left out its documented value.
func (s *Scenario) fillDefaults() {
	fill(&s.Restart, RestartAdvised)
	fill(&s.Conffiles, ConffilesKeep)
	fill(&s.Rescue, RescueAuto)
	if s.Reboot == nil {
		s.Reboot = []Reboot{RebootClean}
	}
	if s.Suites == nil {
		s.Suites = Suites()
	}
	for i := range s.Increments {
		s.Increments[i].fillDefaults()
	}
	if s.Given != nil {
		s.Given.fillDefaults()
	}
	for i := range s.Expect {
		if s.Expect[i].HTTP != nil {
			fill(&s.Expect[i].HTTP.Status, 200)
		}
	}
}

func (i *Increment) fillDefaults() {
	if i.APT != nil {
		fill(&i.APT.Mode, "with-new-pkgs")
	}
	for f := range i.Files {
		fill(&i.Files[f].Mode, "0644")
		fill(&i.Files[f].Owner, "root:root")
	}
}

func fill[T comparable](value *T, standard T) {
	var zero T
	if *value == zero {
		*value = standard
	}
}

// UnmarshalText reads YYYY-MM-DD.
func (d *Date) UnmarshalText(text []byte) error {
	day, err := time.Parse(time.DateOnly, string(text))
	if err != nil {
		return fmt.Errorf("want a day such as 2027-01-31, not %q", text)
	}
	d.Time = day
	return nil
}

// Expired tells whether an allowance's last day is over.
func (a Allowance) Expired(now time.Time) bool {
	return !a.Until.IsZero() && !now.Before(a.Until.AddDate(0, 0, 1))
}

// Warnings are what one should know about a scenario before it runs, though it is no mistake.
func (s *Scenario) Warnings(now time.Time) []string {
	var warnings []string
	for i, a := range s.Allow {
		if a.Expired(now) {
			warnings = append(warnings, fmt.Sprintf("allow[%d]: the allowance for %s %s has expired on %s and allows nothing",
				i, a.Kind, a.Name, a.Until.Format(time.DateOnly)))
		}
	}
	return warnings
}
