package guesttest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/patchlab/patchlab/harness/guest"
)

// Script is a fake guest: a [guest.Dialer] whose connections answer commands from a script and keep files in memory.
//
// It knows from the start: the file /proc/sys/kernel/random/boot_id and `cat` of it. A command that nobody scripted exits
// with 127, as a shell's does, and is reported by [Script.Unscripted].
type Script struct {
	mu         sync.Mutex
	replies    []reply
	files      map[string]File
	down       bool
	lives      map[*scriptConn]struct{}
	behind     map[*scriptConn]struct{} // connections through the back door
	dials      int
	commands   []guest.Command
	unscripted []string
	handlers   map[string]func(net.Conn)
	listeners  map[string]*scriptListener
	nextPort   int
}

// File is a file of a fake guest.
type File struct {
	Mode    fs.FileMode
	Content []byte
}

// Reply answers a command. ctx ends when the caller's does and when the connection is cut; a reply that blocks must watch it.
type Reply func(ctx context.Context, command guest.Command) guest.Result

type reply struct {
	matches func(guest.Command) bool
	answer  Reply
}

// BootID is where Linux shows the identity of a boot.
const BootID = "/proc/sys/kernel/random/boot_id"

var _ guest.Dialer = (*Script)(nil)

// NewScript returns a guest that is up, with nothing scripted.
func NewScript() *Script {
	s := &Script{
		files: map[string]File{}, lives: map[*scriptConn]struct{}{},
		behind: map[*scriptConn]struct{}{}, handlers: map[string]func(net.Conn){}, listeners: map[string]*scriptListener{}, nextPort: 40000,
	}
	s.files[BootID] = newBootID()
	s.On("cat "+BootID, func(context.Context, guest.Command) guest.Result {
		file, _ := s.File(BootID)
		return guest.Result{Stdout: file.Content}
	})
	return s
}

func newBootID() File {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails, crypto/rand says
	id := hex.EncodeToString(random[:])
	return File{Mode: 0o444, Content: fmt.Appendf(nil, "%s-%s-%s-%s-%s\n", id[:8], id[8:12], id[12:16], id[16:20], id[20:32])}
}

// Says is a reply with exit code 0 and an output.
func Says(stdout string) Reply { return Exits(0, stdout, "") }

// Exits is a reply with an exit code and both outputs.
func Exits(code int, stdout, stderr string) Reply {
	return func(context.Context, guest.Command) guest.Result {
		return guest.Result{ExitCode: code, Stdout: []byte(stdout), Stderr: []byte(stderr)}
	}
}

// Hangs is a reply that never comes: the command ends with its context or with the connection.
func Hangs() Reply {
	return func(ctx context.Context, _ guest.Command) guest.Result {
		<-ctx.Done()
		return guest.Result{}
	}
}

// On scripts the reply to a command line. What is scripted later goes first.
func (s *Script) On(line string, answer Reply) {
	s.OnMatch(func(c guest.Command) bool { return c.Line == line }, answer)
}

// OnPrefix scripts the reply to every command line that begins with prefix.
func (s *Script) OnPrefix(prefix string, answer Reply) {
	s.OnMatch(func(c guest.Command) bool { return strings.HasPrefix(c.Line, prefix) }, answer)
}

// OnMatch scripts the reply to the commands that match.
func (s *Script) OnMatch(matches func(guest.Command) bool, answer Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replies = append(s.replies, reply{matches, answer})
}

// SetFile makes or replaces a file.
func (s *Script) SetFile(path string, mode fs.FileMode, content string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = File{Mode: mode, Content: []byte(content)}
}

// File returns a file and whether there is one.
func (s *Script) File(path string) (File, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	file, ok := s.files[path]
	return file, ok
}

// Handle lets an in-process service answer at an address inside the guest; it closes the connection that it is given.
func (s *Script) Handle(network, address string, handler func(net.Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[network+" "+address] = handler
}

// Cut ends every connection; new ones are accepted.
func (s *Script) Cut() {
	s.mu.Lock()
	lives := s.lives
	s.lives = map[*scriptConn]struct{}{}
	s.mu.Unlock()
	for conn := range lives {
		conn.end(errCut)
	}
}

// Down cuts every connection and accepts no more.
func (s *Script) Down() {
	s.mu.Lock()
	s.down = true
	s.mu.Unlock()
	s.Cut()
}

// Up accepts connections again.
func (s *Script) Up() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = false
}

// Reboot cuts every connection, gives the guest a new boot id and empties /run, as a reboot does. The guest is up afterwards.
func (s *Script) Reboot() {
	s.Down()
	s.mu.Lock()
	behind := s.behind
	s.behind = map[*scriptConn]struct{}{}
	s.mu.Unlock()
	for conn := range behind {
		conn.end(errCut)
	}
	s.mu.Lock()
	for path := range s.files {
		if strings.HasPrefix(path, "/run/") {
			delete(s.files, path)
		}
	}
	s.files[BootID] = newBootID()
	s.mu.Unlock()
	s.Up()
}

// Dials is how many connections were asked for.
func (s *Script) Dials() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials
}

// Commands are the commands that were run, in the order of their beginning, without their streams.
func (s *Script) Commands() []guest.Command {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]guest.Command(nil), s.commands...)
}

// Count is how many commands were run that begin with prefix.
func (s *Script) Count(prefix string) int {
	n := 0
	for _, command := range s.Commands() {
		if strings.HasPrefix(command.Line, prefix) {
			n++
		}
	}
	return n
}

// Unscripted are the command lines that nobody scripted.
func (s *Script) Unscripted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.unscripted...)
}

// RequireScripted fails the test at its end if a command was run that nobody scripted.
func (s *Script) RequireScripted(tb testing.TB) {
	tb.Helper()
	tb.Cleanup(func() {
		if lines := s.Unscripted(); len(lines) > 0 {
			tb.Errorf("commands that nobody scripted:\n%s", strings.Join(lines, "\n"))
		}
	})
}

// Dial makes a connection, or says that the guest does not answer while it is down.
func (s *Script) Dial(ctx context.Context) (guest.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials++
	if ctx.Err() != nil {
		return nil, lost("connecting to the scripted guest", context.Cause(ctx))
	}
	if s.down {
		return nil, lost("connecting to the scripted guest", errors.New("it is down"))
	}
	conn := newScriptConn(s)
	s.lives[conn] = struct{}{}
	return conn, nil
}

// reply notes a command and finds its answer.
func (s *Script) reply(command guest.Command) Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands = append(s.commands, guest.Command{Line: command.Line, User: command.User})
	for _, r := range slices.Backward(s.replies) {
		if r.matches(command) {
			return r.answer
		}
	}
	s.unscripted = append(s.unscripted, command.Line)
	name, _, _ := strings.Cut(command.Line, " ")
	return Exits(127, "", "sh: 1: "+name+": not found\n")
}

func lost(act string, cause error) error {
	return fmt.Errorf("%s: %w: %w", act, guest.ErrLost, cause)
}
