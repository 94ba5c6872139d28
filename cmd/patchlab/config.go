package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchlab/patchlab/harness/dirs"
	"github.com/patchlab/patchlab/harness/strictyaml"
)

// config is the configuration file: defaults for one host. Every key has a flag or an environment variable that goes first.
type config struct {
	Connect    string `yaml:"connect"`     // as --connect
	Output     string `yaml:"output"`      // as --output
	NoColor    bool   `yaml:"no_color"`    // as --no-color
	ImagesDir  string `yaml:"images_dir"`  // as PATCHLAB_IMAGES_DIR
	RunsDir    string `yaml:"runs_dir"`    // as PATCHLAB_RUNS_DIR
	CacheDir   string `yaml:"cache_dir"`   // as PATCHLAB_CACHE_DIR
	RuntimeDir string `yaml:"runtime_dir"` // as PATCHLAB_RUNTIME_DIR
}

// outputs are the values of --output.
func outputs() []string { return []string{"table", "json", "yaml"} }

// settle fills the environment: flag > PATCHLAB_* > configuration file > default.
func (e *environment) settle(cmd *cobra.Command) error {
	file, err := e.readConfig()
	if err != nil {
		return usage(err)
	}
	flags := cmd.Flags()
	if !flags.Changed("connect") {
		e.Connect = first(e.Getenv("PATCHLAB_CONNECT"), e.Getenv("LIBVIRT_DEFAULT_URI"), file.Connect)
	}
	if !flags.Changed("output") {
		e.Output = first(e.Getenv("PATCHLAB_OUTPUT"), file.Output, "table")
	}
	if !flags.Changed("no-color") {
		e.NoColor = file.NoColor
		if own := e.Getenv("PATCHLAB_NO_COLOR"); own != "" {
			if e.NoColor, err = strconv.ParseBool(own); err != nil {
				return usage(fmt.Errorf("PATCHLAB_NO_COLOR is %q: want true or false", own))
			}
		}
	}
	if !slices.Contains(outputs(), e.Output) {
		return usage(fmt.Errorf("unknown output %q (have %s)", e.Output, strings.Join(outputs(), ", ")))
	}
	inFile := map[string]string{
		"PATCHLAB_IMAGES_DIR": file.ImagesDir, "PATCHLAB_RUNS_DIR": file.RunsDir,
		"PATCHLAB_CACHE_DIR": file.CacheDir, "PATCHLAB_RUNTIME_DIR": file.RuntimeDir,
	}
	e.Dirs, err = dirs.Find(func(key string) string { return first(e.Getenv(key), inFile[key]) })
	return usage(err)
}

// readConfig reads the configuration file. None is fine, unless PATCHLAB_CONFIG names it.
func (e *environment) readConfig() (config, error) {
	path := e.Getenv("PATCHLAB_CONFIG")
	named := path != ""
	if !named {
		base := e.Getenv("XDG_CONFIG_HOME")
		if !filepath.IsAbs(base) {
			if e.Getenv("HOME") == "" {
				return config{}, nil
			}
			base = filepath.Join(e.Getenv("HOME"), ".config")
		}
		path = filepath.Join(base, "patchlab", "config.yaml")
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return config{}, nil
	}
	if err != nil {
		return config{}, fmt.Errorf("reading the configuration: %w", err)
	}
	var c config
	doc, problems := strictyaml.Decode(path, data, &c)
	if doc == nil {
		return c, problems.Err()
	}
	if c.Output != "" && !slices.Contains(outputs(), c.Output) {
		doc.Problemf("output", "unknown output %q (have %s)", c.Output, strings.Join(outputs(), ", "))
	}
	return c, doc.Err()
}

// first returns the first value that is set.
func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
