package libvirt

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/patchlab/patchlab/harness/hypervisor"
	"github.com/patchlab/patchlab/harness/wait"
)

// A guest is saved and goes on as QEMU migrates guests: from one process to another, through a socket whose other end is ours.
// libvirt's own save and restore take seconds more, and may not give a domain another name.

// memoryBackend is the id of the guest's RAM. It is part of what is saved: whatever goes on has to have it.
const memoryBackend = "patchlab-ram"

// memory is where the guest's RAM is.
type memory struct {
	path  string // of a file; empty is nowhere else than in QEMU
	share string // the file itself (on), or a copy of each page that the guest writes (off)
}

// put lets this be the guest's RAM, in place of another.
func (m memory) put(definition *libvirtxml.Domain, mebibytes int) {
	object := fmt.Sprintf("memory-backend-ram,id=%s,size=%dM", memoryBackend, mebibytes)
	if m.path != "" {
		object = fmt.Sprintf("memory-backend-file,id=%s,size=%dM,mem-path=%s,share=%s", memoryBackend, mebibytes, m.path, m.share)
	}
	line := definition.QEMUCommandline
	for i, argument := range line.Args {
		if strings.HasPrefix(argument.Value, "memory-backend-") && strings.Contains(argument.Value, ",id="+memoryBackend+",") {
			line.Args[i].Value = object
			return
		}
	}
	added := commandLine(
		"-object", object,
		"-machine", "memory-backend="+memoryBackend, // QEMU joins it with libvirt's, and leaves the RAM that it names alone
	)
	line.Args = append(line.Args, added.Args...)
}

// resumption is how a domain's next start goes on from a saved state.
type resumption struct {
	definition libvirtxml.Domain
	memoryMiB  int
	saved      hypervisor.Saved
}

// Save moves the guest's state out of its QEMU and into a file.
func (d *domain) Save(ctx context.Context, state string) (err error) {
	act := "saving domain " + d.handle.Name
	home, here := d.driver.place.(local)
	if !here {
		return fmt.Errorf("%s: %w: its QEMU is on another machine", act, hypervisor.ErrCannotSave)
	}
	file, err := os.OpenFile(state, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close(), os.Remove(state))
		}
	}()
	if err := d.do(ctx, "suspending", func(l *golibvirt.Libvirt) error { return l.DomainSuspend(d.handle) }); err != nil {
		return err
	}
	socket, done, err := home.exchange(d.mark.Dir)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	defer func() { err = errors.Join(err, done()) }()
	if err := d.moveOut(ctx, home, socket, file, d.mark.Memory != ""); err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	return d.Destroy(ctx)
}

// moveOut lets the domain migrate to a socket and copies what comes: without its RAM, if that stays in the file that it is in.
func (d *domain) moveOut(ctx context.Context, home local, socket string, to io.Writer, withoutMemory bool) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() }) // ends Accept
	defer stop()
	defer listener.Close() //nolint:errcheck // nobody connects to it any more
	if err := home.handOverUnlisted(socket); err != nil {
		return err
	}
	copied := make(chan error, 1)
	go func() {
		err := receive(ctx, listener, to)
		if err != nil {
			cancel(err) // nobody is served by waiting for the rest
		}
		copied <- err
	}()
	if err := d.prepareMigration(ctx, withoutMemory); err != nil {
		return err
	}
	// Nothing runs meanwhile: there is nobody to be considerate of.
	const bandwidth = 1 << 40 // bytes/s
	if err := d.monitor(ctx, "migrate-set-parameters", map[string]any{"max-bandwidth": bandwidth}, nil); err != nil {
		return err
	}
	if err := d.monitor(ctx, "migrate", map[string]any{"uri": "unix:" + socket}, nil); err != nil {
		return err
	}
	if err := d.awaitMigration(ctx); err != nil {
		return err
	}
	return <-copied
}

func receive(ctx context.Context, listener net.Listener, to io.Writer) error {
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it was only read
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_, err = io.Copy(to, conn)
	return err
}

// goOn starts a new QEMU that waits for a state, hands it over, and lets the guest run. A domain that does not come that far
// is off.
func (d *domain) goOn(ctx context.Context, from resumption) (err error) {
	act := "resuming domain " + d.handle.Name
	home, here := d.driver.place.(local)
	if !here {
		return fmt.Errorf("%s: %w: its QEMU is on another machine", act, hypervisor.ErrCannotSave)
	}
	text, err := from.xml()
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	socket, done, err := home.exchange(d.mark.Dir)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	defer func() { err = errors.Join(err, done()) }()
	// What was defined stays what the next start uses.
	err = d.do(ctx, "starting", func(l *golibvirt.Libvirt) error {
		_, err := l.DomainCreateXML(text, golibvirt.DomainStartPaused)
		return err
	})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBack)
			defer cancel()
			err = errors.Join(err, d.Destroy(lasting))
		}
	}()
	if err := d.moveIn(ctx, socket, from.saved); err != nil {
		return fmt.Errorf("%s from %s: %w", act, from.saved.State, err)
	}
	return d.do(ctx, "resuming", func(l *golibvirt.Libvirt) error { return l.DomainResume(d.handle) })
}

// xml describes the domain for the start that goes on.
func (r resumption) xml() (string, error) {
	definition, line := r.definition, *r.definition.QEMUCommandline
	line.Args = append(slices.Clone(line.Args), commandLine("-incoming", "defer").Args...)
	definition.QEMUCommandline = &line
	definition.GenID = &libvirtxml.DomainGenID{} // a new one: the guest is to ask for new randomness
	ram := memory{}
	if r.saved.Memory != "" {
		ram = memory{path: r.saved.Memory, share: "off"}
	}
	ram.put(&definition, r.memoryMiB)
	text, err := definition.Marshal()
	if err != nil {
		return "", fmt.Errorf("rendering it: %w", err)
	}
	return text, nil
}

// uuidText renders a UUID as XML has it.
func uuidText(id golibvirt.UUID) string {
	h := hex.EncodeToString(id[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// moveIn hands a saved state to a QEMU that waits for one.
func (d *domain) moveIn(ctx context.Context, socket string, saved hypervisor.Saved) error {
	state, err := os.Open(saved.State)
	if err != nil {
		return err
	}
	defer state.Close() //nolint:errcheck // it was only read
	if err := d.prepareMigration(ctx, saved.Memory != ""); err != nil {
		return err
	}
	if err := d.monitor(ctx, "migrate-incoming", map[string]any{"uri": "unix:" + socket}, nil); err != nil {
		return err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	// QEMU hangs up on a state that it does not understand, and says in its own words why.
	_, sending := io.Copy(conn, state)
	sending = errors.Join(sending, conn.Close())
	if err := d.awaitMigration(ctx); err != nil {
		return err
	}
	return sending
}

// prepareMigration tells a QEMU at either end whether the RAM is in a file, and not part of what is sent. One that came in one
// way may go out in the other.
func (d *domain) prepareMigration(ctx context.Context, withoutMemory bool) error {
	return d.monitor(ctx, "migrate-set-capabilities", map[string]any{
		"capabilities": []map[string]any{{"capability": "x-ignore-shared", "state": withoutMemory}},
	}, nil)
}

// migrationInterval is how often QEMU is asked how far it has come: a state without RAM takes about 20 ms.
const migrationInterval = 20 * time.Millisecond

// awaitMigration waits until QEMU has sent or received everything.
func (d *domain) awaitMigration(ctx context.Context) error {
	return wait.Until(ctx, "the guest's state to be moved", migrationInterval, func(ctx context.Context) (bool, error) {
		var now migration
		if err := d.monitor(ctx, "query-migrate", nil, &now); err != nil {
			return false, err
		}
		switch now.Status {
		case "failed", "cancelled":
			return false, fmt.Errorf("QEMU could not move the guest's state (%s): %s", now.Status, now.Error)
		default:
			return now.Status == "completed", nil
		}
	})
}

// endMigration gives up what has not been moved yet.
func (d *domain) endMigration(ctx context.Context) error {
	if err := d.monitor(ctx, "migrate_cancel", nil, nil); err != nil {
		return err
	}
	return wait.Until(ctx, "the move of the guest's state to end", migrationInterval, func(ctx context.Context) (bool, error) {
		var now migration
		err := d.monitor(ctx, "query-migrate", nil, &now)
		return now.over(), err
	})
}

// migration is QEMU's answer to how far it has come.
type migration struct {
	Status string `json:"status"`
	Error  string `json:"error-desc"`
}

// over tells that nothing is moved: any more, or at all.
func (m migration) over() bool {
	switch m.Status {
	case "", "none", "completed", "failed", "cancelled":
		return true
	default:
		return false
	}
}

// monitor sends one command to the domain's QEMU (see QEMU's QMP reference) and decodes the answer into an object unless that is
// nil.
func (d *domain) monitor(ctx context.Context, command string, arguments map[string]any, into any) error {
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	text, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("asking QEMU for %s: %w", command, err)
	}
	const machine = 0 // the monitor for programs
	reply, err := call(ctx, d.driver, "asking QEMU for "+command, func(l *golibvirt.Libvirt) (string, error) {
		return l.QEMUDomainMonitorCommand(d.handle, string(text), machine)
	})
	if err != nil {
		return err
	}
	var answer struct {
		Return json.RawMessage `json:"return"`
		Error  *struct {
			Description string `json:"desc"`
		} `json:"error"`
	}
	if err := json.Unmarshal([]byte(reply), &answer); err != nil {
		return fmt.Errorf("asking QEMU for %s: %w", command, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("asking QEMU for %s: it refuses: %s", command, answer.Error.Description)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer.Return, into); err != nil {
		return fmt.Errorf("asking QEMU for %s: %w", command, err)
	}
	return nil
}

// longestSocket is the room for the path of a socket (unix(7)), with its closing zero.
const longestSocket = 108

// exchange makes a directory in which QEMU and we meet, and returns the path of a socket in it that does not exist yet. It is
// QEMU's: nobody else gets in.
func (l local) exchange(runDir string) (socket string, done func() error, err error) {
	if l.foreign != nil && os.Geteuid() != 0 {
		return "", nil, fmt.Errorf("%w: QEMU runs as the user %s, to whom only root could hand over", hypervisor.ErrCannotSave, l.foreign.Name)
	}
	const random = 10 // digits that MkdirTemp adds at most
	if len(runDir)+len("/.move/s")+random >= longestSocket {
		runDir = "" // the system's own
	}
	dir, err := os.MkdirTemp(runDir, ".move") // rundir.Moves, by which gc finds what a killed run has left
	if err != nil {
		return "", nil, err
	}
	if err := l.handOverUnlisted(dir); err != nil {
		return "", nil, errors.Join(err, os.Remove(dir))
	}
	return filepath.Join(dir, "s"), func() error { return os.RemoveAll(dir) }, nil
}
