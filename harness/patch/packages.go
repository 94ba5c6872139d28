package patch

import (
	"context"
	"fmt"
	"path"
	"path/filepath"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/scenario"
)

// stageDebs copies .deb files. APT installs them, so that their dependencies are checked.
func (s Stager) stageDebs(ctx context.Context, increment scenario.Increment, job *Job) (string, error) {
	staged, err := s.stagePackages(ctx, increment, job, scenario.KindDeb)
	if err != nil || len(staged) == 0 {
		return "", err
	}
	if increment.APT == nil {
		if err := s.configureAPT(ctx, job); err != nil {
			return "", err
		}
		if err := s.putText(ctx, path.Join(job.dir, "sources.list"), ""); err != nil {
			return "", err
		}
	}
	// Not --no-download: with it APT does not even fetch what lies there as a file, and gives up ("Pathname to install is
	// not absolute"). A dependency that was not staged cannot come from elsewhere, for there is no network. Nor does it make
	// the directory that it would put archives into.
	return "mkdir -p " + quote(path.Join(job.dir, "archives/partial")) + "\n" +
		"apt-get --allow-downgrades install --" + quoteAll(staged) + "\n", nil
}

// stageRPMs copies .rpm files, for the guest's own rpm.
func (s Stager) stageRPMs(ctx context.Context, increment scenario.Increment, job *Job) (string, error) {
	staged, err := s.stagePackages(ctx, increment, job, scenario.KindRPM)
	if err != nil || len(staged) == 0 {
		return "", err
	}
	found, err := s.Conn.Run(ctx, guest.Command{Line: "command -v rpm"})
	if err != nil {
		return "", fmt.Errorf("looking for the guest's rpm: %w", err)
	}
	if found.ExitCode != 0 {
		return "", &ScenarioError{Increment: job.Name, Reason: "the guest has no rpm to install .rpm packages with; on Debian, " +
			"let the scenario give it one: given: {apt: {packages: [rpm], suite: " + s.Release + "}}"}
	}
	mode := "--upgrade"
	if increment.RPM == scenario.RPMInstall {
		mode = "--install"
	}
	// Debian's rpm warns that alien should do it unless told that it is meant; no other's knows the option.
	return "force=\nif [ -e /etc/debian_version ]; then force=--force-debian; fi\n" +
		"rpm " + mode + " $force --" + quoteAll(staged) + "\n", nil
}

// stagePackages copies the increment's packages of a kind and returns where they are in the guest.
func (s Stager) stagePackages(ctx context.Context, increment scenario.Increment, job *Job, kind string) ([]string, error) {
	var staged []string
	for _, entry := range increment.Packages {
		files, err := s.packageFiles(entry)
		if err != nil {
			return nil, err
		}
		for _, from := range files {
			if is, err := scenario.PackageKind(from); err != nil {
				return nil, fmt.Errorf("package %s %w", from, err)
			} else if is != kind {
				continue
			}
			to := path.Join(job.dir, "packages", filepath.Base(from))
			if err := s.put(ctx, from, to, job); err != nil {
				return nil, err
			}
			staged = append(staged, to)
		}
	}
	return staged, nil
}

// packageFiles are the files on the host that an entry stands for.
func (s Stager) packageFiles(entry string) ([]string, error) {
	if built, ok := s.Built[entry]; ok {
		return []string{built}, nil
	}
	matches, err := filepath.Glob(filepath.Join(s.Dir, entry))
	if err != nil {
		return nil, fmt.Errorf("packages %q: %w", entry, err)
	}
	return matches, nil
}
