package guesttest

import (
	"fmt"
	"net"
	"sync"

	"golang.org/x/crypto/ssh"
)

// forwards are the ports that a client of [Server] asked it to listen on.
type forwards struct {
	conn ssh.Conn
	mu   sync.Mutex
	open map[string]net.Listener
}

// forwardRequest is the body of tcpip-forward and cancel-tcpip-forward.
type forwardRequest struct {
	Host string
	Port uint32
}

func (r forwardRequest) address() string { return net.JoinHostPort(r.Host, fmt.Sprint(r.Port)) }

func (f *forwards) serve(requests <-chan *ssh.Request) {
	for request := range requests {
		var wanted forwardRequest
		_ = ssh.Unmarshal(request.Payload, &wanted)
		switch request.Type {
		case "tcpip-forward":
			port, err := f.listen(wanted)
			answer := []byte(nil)
			if wanted.Port == 0 {
				answer = ssh.Marshal(struct{ Port uint32 }{port})
			}
			_ = request.Reply(err == nil, answer)
		case "cancel-tcpip-forward":
			_ = request.Reply(f.cancel(wanted), nil)
		default: // keepalive@openssh.com among them: sshd answers with a failure, which is a sign of life
			_ = request.Reply(false, nil)
		}
	}
}

func (f *forwards) listen(wanted forwardRequest) (port uint32, err error) {
	listener, err := net.Listen("tcp", wanted.address()) //nolint:noctx // as sshd does it
	if err != nil {
		return 0, err
	}
	address, _ := listener.Addr().(*net.TCPAddr)
	wanted.Port = uint32(address.Port)
	f.mu.Lock()
	f.open[wanted.address()] = listener
	f.mu.Unlock()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go f.forward(conn, wanted)
		}
	}()
	return wanted.Port, nil
}

func (f *forwards) forward(conn net.Conn, arrived forwardRequest) {
	from, _ := conn.RemoteAddr().(*net.TCPAddr)
	channel, requests, err := f.conn.OpenChannel("forwarded-tcpip", ssh.Marshal(struct {
		Host   string
		Port   uint32
		Origin string
		From   uint32
	}{arrived.Host, arrived.Port, from.IP.String(), uint32(from.Port)}))
	if err != nil {
		_ = conn.Close()
		return
	}
	join(channel, requests, conn)
}

func (f *forwards) cancel(wanted forwardRequest) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	listener, ok := f.open[wanted.address()]
	if ok {
		delete(f.open, wanted.address())
		_ = listener.Close()
	}
	return ok
}

func (f *forwards) closeAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, listener := range f.open {
		_ = listener.Close()
	}
}
