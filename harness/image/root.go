package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/mirror"
	"github.com/patchlab/patchlab/harness/progress"
)

// The files of the exchange directory.
const (
	rawDisk      = "disk.raw"
	kernelFile   = "vmlinuz"
	initrdFile   = "initrd.img"
	hostKeyFile  = "host_key"
	packagesFile = "packages"
	earlyArchive = "early.tar"
	lateArchive  = "late.tar"
)

// makeRoot installs the packages into a root directory and writes it to a raw disk.
func (j *buildJob) makeRoot(ctx context.Context) error {
	if err := j.fillExchange(); err != nil {
		return err
	}
	log := &hidingWriter{mirror: j.recipe.mirror, to: j.log}
	partition := tool{
		name: "sfdisk", arguments: []string{"--quiet", j.workshop.exchange(rawDisk)},
		stdin: layoutOf(j.manifest).table, log: log,
	}
	if err := partition.run(ctx); err != nil {
		return fmt.Errorf("partitioning the disk: %w", err)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, rootBound, errSlowMirror)
	defer cancel()
	log.line = j.tellStep
	err := tool{
		name: "unshare", title: "mmdebstrap", arguments: confine(j.Unshare, append([]string{lookTool("mmdebstrap")}, j.recipe.mmdebstrapArguments()...)...),
		env: append(j.recipe.environment(j.workshop.exchange("")), "TMPDIR="+j.workshop.file(scratchDir)),
		log: log, hide: j.recipe.mirror.Hide,
	}.run(bounded)
	if err != nil {
		return j.explainRoot(ctx, err)
	}
	return j.readExchange()
}

// explainRoot tells the three things that go wrong outside patchlab: somebody lost patience, the disk is full, or the
// mirror does not deliver.
func (j *buildJob) explainRoot(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("installing packages: %w", context.Cause(ctx))
	}
	const nothing = 16 << 20 // bytes: with less left, writing has failed
	if free, spaceErr := freeSpace(j.workshop.path); spaceErr == nil && free < nothing {
		return fmt.Errorf("installing packages: no space is left in %s: %w", j.Store.Dir, err)
	}
	if strings.Contains(err.Error(), mirror.AliasHost) {
		return fmt.Errorf("installing packages from the mirror in the host's APT sources, which is shown as %s "+
			"(does apt-get update work on this host? %s can name another mirror): %w", mirror.AliasHost, mirror.Variable, err)
	}
	return fmt.Errorf("installing packages: %w", err)
}

// errSlowMirror is what ends a build that gets nowhere.
var errSlowMirror = fmt.Errorf("not done after %s: is the mirror slow?", rootBound)

// fillExchange makes the files that the hooks read, and the disk.
func (j *buildJob) fillExchange() error {
	for name, files := range map[string][]rootFile{earlyArchive: earlyFiles(), lateArchive: j.recipe.lateFiles()} {
		var archive bytes.Buffer
		if err := writeArchive(&archive, files, j.Now()); err != nil {
			return err
		}
		if err := os.WriteFile(j.workshop.exchange(name), archive.Bytes(), 0o644); err != nil {
			return fmt.Errorf("packing files: %w", err)
		}
	}
	disk, err := os.Create(j.workshop.exchange(rawDisk))
	if err != nil {
		return fmt.Errorf("making the disk: %w", err)
	}
	if err := errors.Join(disk.Truncate(j.manifest.Disk.Bytes()), disk.Close()); err != nil {
		return fmt.Errorf("making the disk: %w", err)
	}
	return nil
}

// readExchange takes what the hooks have told.
func (j *buildJob) readExchange() error {
	line, err := os.ReadFile(j.workshop.exchange(hostKeyFile))
	if err != nil {
		return fmt.Errorf("reading the guest's host key: %w", err)
	}
	if j.hostKey, err = hostKey(string(line)); err != nil {
		return err
	}
	list, err := os.ReadFile(j.workshop.exchange(packagesFile))
	if err != nil {
		return fmt.Errorf("reading the package list: %w", err)
	}
	j.packages = map[string]string{}
	for line := range strings.Lines(string(list)) {
		if name, version, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			j.packages[name] = version
		}
	}
	return nil
}

// makeDisk turns the raw disk into the image, and lays out the kernel for the first boot.
func (j *buildJob) makeDisk(ctx context.Context) error {
	convert := tool{
		name: "qemu-img",
		arguments: []string{
			"convert", "-q", "-f", "raw", "-O", "qcow2", "-W", "-m", "8",
			j.workshop.exchange(rawDisk), j.workshop.file(diskFile),
		},
		log: j.log,
	}
	if err := convert.run(ctx); err != nil {
		return fmt.Errorf("converting the disk: %w", err)
	}
	// Half of the space that the build needs at its peak.
	if err := os.Remove(j.workshop.exchange(rawDisk)); err != nil {
		return fmt.Errorf("removing the raw disk: %w", err)
	}
	for _, name := range []string{kernelFile, initrdFile} {
		if err := os.Rename(j.workshop.exchange(name), j.workshop.file(name)); err != nil {
			return fmt.Errorf("laying out the kernel: %w", err)
		}
	}
	for _, name := range []string{diskFile, kernelFile, initrdFile} {
		// The hypervisor's user reads them.
		if err := os.Chmod(j.workshop.file(name), 0o644); err != nil {
			return fmt.Errorf("laying out the disk: %w", err)
		}
	}
	return nil
}

// tellStep passes mmdebstrap's own steps on.
func (j *buildJob) tellStep(line string) {
	text, ok := strings.CutPrefix(line, "I: ")
	step, _, _ := strings.Cut(text, " ")
	if ok && slices.Contains([]string{"downloading", "extracting", "installing"}, step) {
		j.emit(j.manifest.Name, progress.Note, "root file system", strings.TrimRight(text, "."))
	}
}

// hidingWriter passes whole lines on, without the mirror's name.
type hidingWriter struct {
	mirror mirror.Mirror
	to     io.Writer
	line   func(string) // told of each line; may be nil
	rest   []byte
}

func (w *hidingWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		end := bytes.IndexByte(w.rest, '\n')
		if end < 0 {
			return len(p), nil
		}
		text := w.mirror.Hide(string(w.rest[:end+1]))
		w.rest = w.rest[end+1:]
		if w.line != nil {
			w.line(strings.TrimSpace(text))
		}
		if _, err := io.WriteString(w.to, text); err != nil {
			return 0, err
		}
	}
}

// checkNamespaces tells what the host refuses before anything is begun.
func (b *Builder) checkNamespaces(ctx context.Context) error {
	if b.Unshare {
		if err := checkSubordinate(); err != nil {
			return err
		}
	}
	var output bytes.Buffer
	err := tool{name: "unshare", arguments: confine(b.Unshare, "true"), log: &output}.run(ctx)
	switch {
	case err == nil:
		return nil
	case b.Unshare:
		return fmt.Errorf("building images without root needs user namespaces, which this host refuses "+
			"(sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces); build as root instead: %w", err)
	default:
		return fmt.Errorf("building images needs mount and process namespaces, which this host refuses (a container without "+
			"CAP_SYS_ADMIN?): %w", err)
	}
}

// checkSubordinate tells an ordinary user what a user namespace needs.
func checkSubordinate() error {
	me, err := user.Current()
	if err != nil {
		return fmt.Errorf("asking who runs this: %w", err)
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("reading subordinate ids: %w", err)
		}
		if !hasRange(string(text), me.Username, me.Uid) {
			return fmt.Errorf("building images without root needs a range of 65536 subordinate ids, and %s has none for %s; "+
				"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s", file, me.Username, me.Username)
		}
	}
	return nil
}

func hasRange(text, name, id string) bool {
	for line := range strings.Lines(text) {
		if owner, _, ok := strings.Cut(line, ":"); ok && (owner == name || owner == id) {
			return true
		}
	}
	return false
}
