package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// Errors of [Look] that the machine's administrator can mend.
var (
	// ErrSudo means that the user is not root and may not become root without a password.
	ErrSudo = errors.New("sudo does not let this user be root without a password")
	// ErrNoRoom means that the machine has no directory from which this user may run a program.
	ErrNoRoom = errors.New("there is no directory in which a program may be put and run")
	// ErrMachine means that the probe does not run on machines of this kind.
	ErrMachine = errors.New("the probe runs on amd64 only")
)

// LookFiles says which files of a machine are read.
type LookFiles string

// The files of a machine. Those of the system take as long as the disk needs for all that is installed, and are read when nobody else
// wants the disk; of data (/var, /home, /srv) the contents of small files alone are read.
const (
	LookEtc    LookFiles = "etc"
	LookSystem LookFiles = "system"
)

// Runner runs commands on a machine. [guest.Conn] is one.
type Runner interface {
	Run(ctx context.Context, command guest.Command) (guest.Result, error)
}

// Look reads a machine that is nobody's clone, and leaves it as it was: the probe is put into a temporary directory, run once,
// and removed, also when the connection breaks. It runs as root, by sudo where the user is another; with unprivileged it
// runs as the user, and the document's notes say what could not be read.
func Look(ctx context.Context, machine Runner, unprivileged bool, files LookFiles) (Document, error) {
	b, err := current()
	if err != nil {
		return Document{}, err
	}
	return b.look(ctx, machine, unprivileged, files)
}

func (b *build) look(ctx context.Context, machine Runner, unprivileged bool, files LookFiles) (Document, error) {
	compressed, err := b.compressed()
	if err != nil {
		return Document{}, err
	}
	command := guest.Command{Line: lookLine(unprivileged, files), Stdin: compressed}
	result, err := machine.Run(ctx, command)
	if err != nil {
		return Document{}, fmt.Errorf("reading facts: %w", err)
	}
	switch result.ExitCode {
	case 0:
	case exitSudo:
		return Document{}, fmt.Errorf("reading facts: %w (%s)", ErrSudo, protocol.Clean(lastLine(result.Stderr)))
	case exitNoRoom:
		return Document{}, fmt.Errorf("reading facts: %w", ErrNoRoom)
	case exitMachine:
		return Document{}, fmt.Errorf("reading facts: %w, this one is %s", ErrMachine, protocol.Clean(lastLine(result.Stderr)))
	default:
		return Document{}, fmt.Errorf("reading facts: the probe exited with %d: %s", result.ExitCode, protocol.Clean(lastLine(result.Stderr)))
	}
	var doc Document
	if err := decode(result, &doc); err != nil {
		return Document{}, fmt.Errorf("reading facts: %w", err)
	}
	return checked(doc)
}

// The exit codes of the script that looks at a machine, beside those of the probe.
const (
	exitSudo    = 91
	exitNoRoom  = 92
	exitMachine = 93
)

// lookLine is the whole of what happens on the machine. /tmp may be mounted noexec, so that a directory is tried before it is
// used; the trap takes it away whatever happens.
func lookLine(unprivileged bool, files LookFiles) string {
	become := fmt.Sprintf(`s=; if [ "$(id -u)" != 0 ]; then s="sudo -n"; $s true || exit %d; fi`, exitSudo)
	if unprivileged {
		become = "s="
	}
	gently := "n=; "
	if files == LookSystem { // for long, on a machine that has other work
		gently = `n="nice -n 19"; command -v ionice >/dev/null && n="$n ionice -c 3"; `
	}
	script := strings.Join([]string{
		fmt.Sprintf(`umask 077; m=$(uname -m); [ "$m" = x86_64 ] || { echo "$m" >&2; exit %d; }`, exitMachine),
		become,
		`d=; trap 'rm -rf "$d"' EXIT; trap 'exit 129' HUP INT TERM PIPE`,
		`for b in "${TMPDIR:-/tmp}" /var/tmp /dev/shm "$HOME"; do ` +
			`d=$(mktemp -d "$b/patchlab-facts-XXXXXXXX" 2>/dev/null) || continue; ` +
			`printf '#!/bin/sh\n' >"$d/probe" && chmod 700 "$d/probe" && "$d/probe" 2>/dev/null && break; ` +
			`rm -rf "$d"; d=; done`,
		fmt.Sprintf(`[ -n "$d" ] || exit %d`, exitNoRoom),
		`gzip -dc >"$d/new" && chmod 700 "$d/new" && mv "$d/new" "$d/probe" || exit`,
		gently + `$s $n "$d/probe" facts --files ` + string(files),
	}, "; ")
	return "exec /bin/sh -c '" + strings.ReplaceAll(script, "'", `'\''`) + "'"
}

// lastLine is the last line of an output that says something.
func lastLine(output []byte) string {
	const most = 300 // bytes
	text := strings.TrimSpace(string(output))
	text = text[strings.LastIndexByte(text, '\n')+1:]
	return text[:min(len(text), most)]
}
