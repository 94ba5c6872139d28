package patch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/patchlab/patchlab/harness/scenario"
)

// buildTime is the time stamp of everything in a built package (2024-01-01): the same source gives the same bytes, and so the
// same lock, on every host and day.
const buildTime = "1704067200"

// Builder makes packages of sources on the host, without being root.
type Builder struct {
	Dir string // the scenario's directory: entries are relative to it
	To  string // where the packages are kept; made when needed
}

// Build makes a package of each source directory among the increment's packages and returns the files by entry. A source that
// does not build is a [*ScenarioError]; a tool that the host lacks is the lab's.
func (b Builder) Build(ctx context.Context, increment scenario.Increment) (map[string]string, error) {
	built := map[string]string{}
	for _, entry := range increment.Packages {
		source := filepath.Join(b.Dir, filepath.FromSlash(entry))
		if info, err := os.Stat(source); err != nil || !info.IsDir() {
			continue // a package file, or what staging will say
		}
		file, err := b.build(ctx, source, increment.Name)
		if failed, ok := errors.AsType[*buildError](err); ok {
			return nil, &ScenarioError{Increment: increment.Name, Reason: "building packages/" + entry + ": " + failed.Error()}
		}
		if err != nil {
			return nil, fmt.Errorf("building packages/%s of increment %s: %w", entry, increment.Name, err)
		}
		built[entry] = file
	}
	return built, nil
}

// build works on a copy: the source may be read-only, and its modes are not those of the package.
func (b Builder) build(ctx context.Context, source, increment string) (file string, err error) {
	kind, err := scenario.PackageKind(source)
	if err != nil {
		return "", err
	}
	work, err := os.MkdirTemp("", "patchlab-package-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	tree, out := filepath.Join(work, "source"), filepath.Join(work, "out")
	if err := copyTree(source, tree); err != nil {
		return "", err
	}
	if err := os.Mkdir(out, 0o755); err != nil {
		return "", err
	}
	if kind == scenario.KindRPM {
		err = buildRPM(ctx, tree, out)
	} else {
		err = tool{name: "dpkg-deb", from: "dpkg"}.run(ctx, "--root-owner-group", "-Zxz", "--build", tree, out)
	}
	if err != nil {
		return "", err
	}
	return b.keep(out, filepath.Join(b.To, increment))
}

// buildRPM builds the binary package alone. Everything that tells host and hour is fixed.
func buildRPM(ctx context.Context, tree, out string) error {
	spec, err := scenario.SpecFile(tree)
	if err != nil {
		return err
	}
	arguments := []string{"-bb", "--quiet"}
	for _, macro := range []string{
		"_topdir " + filepath.Join(filepath.Dir(tree), "rpmbuild"), "_sourcedir " + tree, "_rpmdir " + out,
		"_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm", "_buildhost patchlab.invalid", "debug_package %{nil}",
		"use_source_date_epoch_as_buildtime 1", "clamp_mtime_to_source_date_epoch 1", "_build_id_links none",
	} {
		arguments = append(arguments, "--define", macro)
	}
	return tool{name: "rpmbuild", from: "rpm"}.run(ctx, append(arguments, filepath.Join(tree, spec))...)
}

// keep moves the one package that was made out of the temporary directory.
func (b Builder) keep(out, to string) (string, error) {
	made, err := filepath.Glob(filepath.Join(out, "*.*"))
	if err != nil {
		return "", err
	}
	if len(made) != 1 {
		return "", &buildError{fmt.Sprintf("made %d packages: want one", len(made))}
	}
	content, err := os.ReadFile(made[0])
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return "", err
	}
	file := filepath.Join(to, filepath.Base(made[0]))
	if _, err := os.Stat(file); err == nil {
		return "", &buildError{filepath.Base(file) + " is there twice in the increment"}
	}
	return file, os.WriteFile(file, content, 0o644)
}

// copyTree copies a package's source. Modes do not survive every way that a source takes, the embedding of built-in scenarios
// among them, so they follow from the content: programs may be executed, all else is 0644. Links stay links.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		target := filepath.Join(to, inside)
		switch {
		case entry.IsDir():
			return errors.Join(os.Mkdir(target, 0o700), os.Chmod(target, 0o755))
		case entry.Type() == fs.ModeSymlink:
			link, err := os.Readlink(name)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case !entry.Type().IsRegular():
			return &buildError{inside + " is neither a file, a directory nor a link"}
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		// Modes given at creation are cut by the umask.
		return errors.Join(os.WriteFile(target, content, 0o600), os.Chmod(target, modeOf(content)))
	})
}

func modeOf(content []byte) fs.FileMode {
	if bytes.HasPrefix(content, []byte("#!")) || bytes.HasPrefix(content, []byte("\x7fELF")) {
		return 0o755
	}
	return 0o644
}

// buildError is what is wrong with a source.
type buildError struct{ reason string }

func (e *buildError) Error() string { return e.reason }

// tool is a program of the host, from a Debian package.
type tool struct{ name, from string }

// run runs the program. That it fails is the source's fault, that it is not there the host's.
func (t tool) run(ctx context.Context, arguments ...string) error {
	file, err := exec.LookPath(t.name)
	if err != nil {
		return fmt.Errorf("%s is not installed; install it: apt-get install --no-install-recommends %s", t.name, t.from)
	}
	command := exec.CommandContext(ctx, file, arguments...)
	command.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "SOURCE_DATE_EPOCH="+buildTime)
	output, err := command.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("running %s: %w", t.name, context.Cause(ctx))
	}
	if err != nil {
		return &buildError{fmt.Sprintf("%s: %v: %s", t.name, err, oneLine(lastLines(strings.ToValidUTF8(string(output), "?"), 4)))}
	}
	return nil
}
