package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchlab/patchlab/harness/probe/protocol"
	"github.com/patchlab/patchlab/harness/wait"
)

// runInit is the life of the first process of a helper domain: the disk of a guest that is off is opened, and its root becomes
// ours; then questions are answered until one asks for the end. The kernel panics when this process ends, so the domain is turned
// off before, whatever happens.
func runInit(ctx context.Context, arguments []string) error {
	if os.Getpid() != 1 || len(arguments) > 0 {
		return fmt.Errorf("%w: init is for the first process of a helper domain", errUsage)
	}
	err := serveDisk(ctx)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, protocol.ErrorPrefix+protocol.Clean(err.Error())) // on the console
	}
	return errors.Join(err, unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
}

func serveDisk(ctx context.Context) error {
	if err := mountKernels("/"); err != nil {
		return err
	}
	loadModules(protocol.ModulesDir)
	port, err := openPort(ctx)
	if err != nil {
		return err
	}
	defer port.Close() //nolint:errcheck // it is over
	ctx, end := context.WithCancel(ctx)
	defer end()
	server := &diskServer{opened: openDisk(ctx), end: end}
	return answerAll(ctx, port, server.do)
}

// mountKernels mounts what the kernel offers.
func mountKernels(root string) error {
	for _, m := range []struct{ kind, point string }{{"proc", "proc"}, {"sysfs", "sys"}, {"devtmpfs", "dev"}} {
		if err := unix.Mount(m.kind, filepath.Join(root, m.point), m.kind, unix.MS_NOSUID, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", m.kind, err)
		}
	}
	return nil
}

// loadModules loads what it can: what is missing shows soon enough.
func loadModules(dir string) {
	files, _ := filepath.Glob(filepath.Join(dir, "*")) // sorted; the pattern is a good one
	for _, file := range files {
		if err := loadModule(file); err != nil && !errors.Is(err, unix.EEXIST) {
			_, _ = fmt.Fprintf(os.Stderr, "%sloading %s: %v\n", protocol.ErrorPrefix, file, err)
		}
	}
}

func loadModule(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // it was only read
	flags := 0
	if !strings.HasSuffix(path, ".ko") {
		flags = unix.MODULE_INIT_COMPRESSED_FILE // kernels whose modules are packed unpack them
	}
	return unix.FinitModule(int(file.Fd()), "", flags)
}

// deviceInterval is how often is looked whether a device has come, and devicePatience for how long.
const (
	deviceInterval = 20 * time.Millisecond
	devicePatience = time.Minute // a driver finds its devices when it is loaded; this is for a slow host
)

// openPort opens the port to the host. Nobody is there who makes a link of its name.
func openPort(ctx context.Context) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, devicePatience)
	defer cancel()
	var port *os.File
	err := wait.Until(ctx, "the port to the host", deviceInterval, func(context.Context) (bool, error) {
		files, _ := filepath.Glob("/sys/class/virtio-ports/*/name") // the pattern is a good one
		for _, file := range files {
			name, err := os.ReadFile(file)
			if err != nil || strings.TrimSpace(string(name)) != protocol.WaitChannel {
				continue
			}
			port, err = os.OpenFile(filepath.Join("/dev", filepath.Base(filepath.Dir(file))), os.O_RDWR, 0)
			return err == nil, err
		}
		return false, nil
	})
	return port, err
}

// diskServer answers for an opened disk.
type diskServer struct {
	opened protocol.Opened
	end    func()
}

func (s *diskServer) do(ctx context.Context, arguments []string, stdout, stderr io.Writer) (int, error) {
	switch arguments[0] {
	case protocol.AskOpened:
		return 0, json.NewEncoder(stdout).Encode(s.opened)
	case protocol.AskRun:
		return s.runLine(ctx, arguments[1:], stdout, stderr)
	case protocol.AskOff:
		defer s.end()
		return 0, writeBack()
	case "facts", "version":
		return run(ctx, arguments, stdout, stderr)
	}
	return protocol.ExitUsage, fmt.Errorf("%w: a helper does not %q", errUsage, arguments[0])
}

// runLine runs a line of shell in the opened system, by its own shell.
func (s *diskServer) runLine(ctx context.Context, arguments []string, stdout, stderr io.Writer) (int, error) {
	flags := newFlags(protocol.AskRun)
	timeout := flags.Duration("timeout", time.Minute, "how long it may take")
	if err := flags.Parse(arguments); err != nil || flags.NArg() != 1 {
		return protocol.ExitUsage, fmt.Errorf("%w: run wants one line (%w)", errUsage, err)
	}
	if s.opened.Root == "" {
		return protocol.ExitError, errors.New("there is no root file system to run anything in")
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	command := exec.CommandContext(ctx, "/bin/sh", "-c", flags.Arg(0))
	command.Env = environment()
	command.WaitDelay = time.Second // something that it left behind may hold its output
	out, complaints := &bounded{left: protocol.MaxOutput}, &bounded{left: protocol.MaxOutput}
	command.Stdout, command.Stderr = out, complaints
	err := command.Run()
	_, _ = io.Copy(stdout, &out.content)
	_, _ = io.Copy(stderr, &complaints.content)
	if out.cut || complaints.cut {
		_, _ = fmt.Fprintln(stderr, "\n"+protocol.OutputCut)
	}
	if ctx.Err() != nil {
		return protocol.ExitDied, fmt.Errorf("it did not end within %s", *timeout)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return protocol.ExitError, err
	}
	return 0, nil
}

// environment is that of an administrator's login.
func environment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "TERM=dumb",
		"DEBIAN_FRONTEND=noninteractive",
	}
}

// bounded keeps the beginning of what is written.
type bounded struct {
	content bytes.Buffer
	left    int
	cut     bool
}

func (b *bounded) Write(content []byte) (int, error) {
	kept := content[:min(len(content), b.left)]
	b.left -= len(kept)
	b.cut = b.cut || len(kept) < len(content)
	b.content.Write(kept)
	return len(content), nil
}
