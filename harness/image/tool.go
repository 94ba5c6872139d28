package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// tools are the host's programs that a build runs, with the Debian package of each.
var tools = []struct{ name, pkg string }{
	{"mmdebstrap", "mmdebstrap"}, {"sfdisk", "fdisk"}, {"mke2fs", "e2fsprogs"}, {"qemu-img", "qemu-utils"}, {"unshare", "util-linux"},
}

// sbin is where some of them lie; it is not in an ordinary user's PATH.
const sbin = "/usr/local/sbin:/usr/sbin:/sbin"

// missingTools returns the packages that a build lacks on this host.
func missingTools(unshare bool) []string {
	var missing []string
	wanted := tools
	if unshare {
		wanted = append(slices.Clip(wanted), struct{ name, pkg string }{"newuidmap", "uidmap"})
	}
	for _, tool := range wanted {
		if lookTool(tool.name) == "" {
			missing = append(missing, tool.pkg)
		}
	}
	if _, err := os.Stat(keyring); errors.Is(err, fs.ErrNotExist) {
		missing = append(missing, "debian-archive-keyring")
	}
	return missing
}

func lookTool(name string) string {
	for _, directory := range filepath.SplitList(os.Getenv("PATH") + ":" + sbin) {
		path := filepath.Join(directory, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// confine returns the arguments of unshare(1) that run a command in namespaces of its own: when unshare is killed, every process of
// the command dies and every mount is gone, so that nothing of a build outlives it. With user set, the command's root
// is the user outside, and the other users are his subordinate ones.
func confine(user bool, command ...string) []string {
	var arguments []string
	if user {
		arguments = append(arguments, "--user", "--map-auto", "--map-root-user")
	}
	arguments = append(arguments, "--mount", "--pid", "--fork", "--kill-child=KILL", "--")
	return append(arguments, command...)
}

// tool is one run of a host's program.
type tool struct {
	name      string
	title     string // in messages; default name
	arguments []string
	stdin     string
	stdout    io.Writer // for what the program answers; default log
	env       []string  // beside this process's
	log       io.Writer
	hide      func(string) string // applied to what goes into an error; may be nil
}

// run waits for the program. It is killed when ctx ends or when this process dies.
func (t tool) run(ctx context.Context) error {
	if t.title == "" {
		t.title = t.name
	}
	path := lookTool(t.name)
	if path == "" {
		return fmt.Errorf("running %s: not installed", t.title)
	}
	command := exec.CommandContext(ctx, path, t.arguments...)
	command.Env = append(os.Environ(), append(t.env, "PATH="+os.Getenv("PATH")+":"+sbin, "LC_ALL=C.UTF-8")...)
	command.Stdin = strings.NewReader(t.stdin)
	last := &tail{}
	output := io.MultiWriter(t.log, last)
	command.Stdout, command.Stderr = output, output
	if t.stdout != nil {
		command.Stdout = t.stdout
	}
	// A group of its own: Ctrl-C in a terminal reaches us alone.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	// The death signal comes when the starting thread ends, so it must live as long as the program.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("running %s: %w", t.title, context.Cause(ctx))
		}
		complaint := last.String()
		if t.hide != nil {
			complaint = t.hide(complaint)
		}
		return fmt.Errorf("running %s: %w: %s", t.title, err, complaint)
	}
	return nil
}

// tail keeps the last complaint of a program, which is what an error message has room for.
type tail struct {
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const most = 4 << 10
	t.kept = append(t.kept, p...)
	if extra := len(t.kept) - most; extra > 0 {
		t.kept = bytes.Clone(t.kept[extra:])
	}
	return len(p), nil
}

// String returns the first lines that look like an error ("E: ..."), else the last line.
func (t *tail) String() string {
	const lines, most = 3, 240 // mmdebstrap quotes whole command lines
	var complaints []string
	last := ""
	for text := range strings.Lines(string(t.kept)) {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		last = text[:min(len(text), most)]
		isComplaint := strings.HasPrefix(text, "E: ") || strings.HasPrefix(text, "W: Failed") || strings.HasPrefix(text, "dpkg: error")
		// The first cause, before what follows from it.
		if isComplaint && len(complaints) < lines {
			complaints = append(complaints, last)
		}
	}
	if len(complaints) > 0 {
		return strings.Join(complaints, "; ")
	}
	return last
}
