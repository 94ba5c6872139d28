package guesttest

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// Server is an SSH server on a loopback port that plays a guest on this very machine: commands run with /bin/sh as the
// current user, files are this machine's files. It refuses what OpenSSH refuses, such as an eleventh session.
type Server struct {
	Address string
	HostKey ssh.PublicKey
	// Key is the only one that may log in.
	Key ssh.Signer

	options ServerOptions
	config  *ssh.ServerConfig

	mu     sync.Mutex
	conns  []net.Conn
	groups map[int]struct{} // the process groups of running commands
	sizes  []string         // COLUMNSxROWS of each terminal that was asked for, and of each change
}

// ServerOptions make a server differ from a usual one.
type ServerOptions struct {
	WithoutSFTP bool
	// Deaf makes the server ignore every request of a connection after the login, like a guest that hangs.
	Deaf bool
	// Authorized may log in besides [Server.Key], if it is set.
	Authorized ssh.PublicKey
	// WithoutListener leaves only [Server.Serve], for connections that the test makes itself.
	WithoutListener bool
}

// maxSessions is OpenSSH's default MaxSessions.
const maxSessions = 10

// NewServer starts a server that ends with the test.
func NewServer(tb testing.TB, options ServerOptions) *Server {
	tb.Helper()
	hostKey, key := newSigner(tb), newSigner(tb)
	s := &Server{HostKey: hostKey.PublicKey(), Key: key, options: options, groups: map[int]struct{}{}}
	s.config = &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, offered ssh.PublicKey) (*ssh.Permissions, error) {
			known := slices.Equal(offered.Marshal(), key.PublicKey().Marshal()) ||
				options.Authorized != nil && slices.Equal(offered.Marshal(), options.Authorized.Marshal())
			if !known {
				return nil, errors.New("unknown key")
			}
			return &ssh.Permissions{}, nil
		},
	}
	s.config.AddHostKey(hostKey)
	tb.Cleanup(func() {
		s.Cut()
		s.killAll()
	})
	if !options.WithoutListener {
		s.listen(tb)
	}
	return s
}

func (s *Server) listen(tb testing.TB) {
	tb.Helper()
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("listening for the ssh server: %v", err)
	}
	s.Address = listener.Addr().String()
	tb.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.Serve(conn)
		}
	}()
}

func newSigner(tb testing.TB) ssh.Signer {
	tb.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatalf("generating a key: %v", err)
	}
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		tb.Fatalf("generating a key: %v", err)
	}
	return signer
}

// Cut ends every connection at once, like a guest whose plug is pulled. New ones are accepted.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		_ = conn.Close()
	}
	s.conns = nil
}

// Serve speaks SSH on a connection until it ends.
func (s *Server) Serve(raw net.Conn) {
	s.mu.Lock()
	s.conns = append(s.conns, raw)
	s.mu.Unlock()
	defer func() { _ = raw.Close() }()
	conn, channels, requests, err := ssh.NewServerConn(raw, s.config)
	if err != nil {
		return
	}
	if s.options.Deaf {
		_ = conn.Wait()
		return
	}
	f := &forwards{conn: conn, open: map[string]net.Listener{}}
	defer f.closeAll()
	go f.serve(requests)
	sessions := make(chan struct{}, maxSessions)
	for channel := range channels {
		switch channel.ChannelType() {
		case "session":
			select {
			case sessions <- struct{}{}:
				go func() {
					s.session(channel)
					<-sessions
				}()
			default:
				_ = channel.Reject(ssh.ConnectionFailed, "open failed")
			}
		case "direct-tcpip":
			var to struct {
				Host   string
				Port   uint32
				Origin string
				From   uint32
			}
			_ = ssh.Unmarshal(channel.ExtraData(), &to)
			go direct(channel, "tcp", net.JoinHostPort(to.Host, fmt.Sprint(to.Port)))
		case "direct-streamlocal@openssh.com":
			var to struct {
				Path     string
				Reserved string
				Number   uint32
			}
			_ = ssh.Unmarshal(channel.ExtraData(), &to)
			go direct(channel, "unix", to.Path)
		default:
			_ = channel.Reject(ssh.UnknownChannelType, "unknown channel type")
		}
	}
}

func (s *Server) session(offer ssh.NewChannel) {
	channel, requests, err := offer.Accept()
	if err != nil {
		return
	}
	defer func() { _ = channel.Close() }()
	for request := range requests {
		var argument struct{ Text string }
		_ = ssh.Unmarshal(request.Payload, &argument)
		switch {
		case request.Type == "pty-req":
			s.resize(request)
			_ = request.Reply(true, nil)
		case request.Type == "exec", request.Type == "shell":
			_ = request.Reply(true, nil)
			go s.discard(requests)
			s.execute(channel, argument.Text)
			return
		case request.Type == "subsystem" && argument.Text == "sftp" && !s.options.WithoutSFTP:
			_ = request.Reply(true, nil)
			if server, err := sftp.NewServer(channel); err == nil {
				_ = server.Serve()
			}
			return
		default:
			_ = request.Reply(false, nil)
		}
	}
}

// discard refuses what comes while a command runs, a signal among it, as sshd does it to root, and notes new sizes.
func (s *Server) discard(requests <-chan *ssh.Request) {
	for request := range requests {
		if request.Type == "window-change" {
			s.resize(request)
		}
		if request.WantReply {
			_ = request.Reply(false, nil)
		}
	}
}

// resize notes the size of a terminal. There is none behind it: programs see pipes.
func (s *Server) resize(request *ssh.Request) {
	var size struct {
		Columns, Rows uint32
		Rest          []byte `ssh:"rest"`
	}
	payload := request.Payload
	if request.Type == "pty-req" {
		var named struct {
			Name string
			Rest []byte `ssh:"rest"`
		}
		_ = ssh.Unmarshal(payload, &named)
		payload = named.Rest
	}
	_ = ssh.Unmarshal(payload, &size)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sizes = append(s.sizes, fmt.Sprintf("%dx%d", size.Columns, size.Rows))
}

// Sizes returns the sizes of terminals that clients told, in order: COLUMNSxROWS.
func (s *Server) Sizes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sizes)
}

// execute runs a command line, or a shell that reads its input, until it exits. As with sshd, a client that goes away does not end it.
func (s *Server) execute(channel ssh.Channel, line string) {
	arguments := []string{"-c", line}
	if line == "" {
		arguments = nil
	}
	command := exec.Command("/bin/sh", arguments...) //nolint:noctx // ends like a command of sshd: by itself or by a signal
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Stdout, command.Stderr = channel, channel.Stderr()
	stdin, err := command.StdinPipe()
	if err != nil {
		return
	}
	if err := command.Start(); err != nil {
		return
	}
	s.note(command.Process.Pid, true)
	defer s.note(command.Process.Pid, false)
	go func() {
		_, _ = io.Copy(stdin, channel)
		_ = stdin.Close()
	}()
	_ = command.Wait()
	status, _ := command.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		name, ok := map[syscall.Signal]string{syscall.SIGTERM: "TERM", syscall.SIGKILL: "KILL", syscall.SIGSEGV: "SEGV"}[status.Signal()]
		if !ok {
			name = "OTHER"
		}
		_, _ = channel.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal  string
			Core    bool
			Message string
			Lang    string
		}{Signal: name}))
		return
	}
	_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status.ExitStatus())}))
}

func (s *Server) note(group int, running bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if running {
		s.groups[group] = struct{}{}
	} else {
		delete(s.groups, group)
	}
}

// killAll leaves no process behind the test.
func (s *Server) killAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for group := range s.groups {
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
}

func direct(offer ssh.NewChannel, network, address string) {
	conn, err := net.Dial(network, address) //nolint:noctx // as sshd does it
	if err != nil {
		_ = offer.Reject(ssh.ConnectionFailed, "Connection refused")
		return
	}
	channel, requests, err := offer.Accept()
	if err != nil {
		_ = conn.Close()
		return
	}
	join(channel, requests, conn)
}

// join copies both ways and passes each end on, until both directions have ended.
func join(channel ssh.Channel, requests <-chan *ssh.Request, conn net.Conn) {
	go func() {
		ssh.DiscardRequests(requests) // ends when the client closes the channel; what it sent before is still delivered
		if half, ok := conn.(interface{ CloseRead() error }); ok {
			_ = half.CloseRead()
		}
	}()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(conn, channel)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	})
	both.Go(func() {
		_, _ = io.Copy(channel, conn)
		_ = channel.CloseWrite()
	})
	both.Wait()
	_ = channel.Close()
	_ = conn.Close()
}
