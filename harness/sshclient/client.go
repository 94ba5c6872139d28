package sshclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"
)

// handshakeWait bounds the ssh handshake with a machine that has accepted the connection.
const handshakeWait = 60 * time.Second

// maxJumps bounds the machines that a connection goes through: configurations can refer to each other.
const maxJumps = 8

// Client is a connection to a machine.
type Client struct {
	*ssh.Client
	Settings Settings

	through *Client // the machine that the connection goes through; nil for none
}

// Dial connects to a target and logs in.
func (c Config) Dial(ctx context.Context, t Target) (*Client, error) { return c.dial(ctx, t, 0) }

func (c Config) dial(ctx context.Context, t Target, depth int) (*Client, error) {
	s, err := c.Resolve(t)
	if err != nil {
		return nil, err
	}
	if depth+len(s.Jumps) > maxJumps {
		return nil, fmt.Errorf("connecting to %s: more than %d machines to jump through", t, maxJumps)
	}
	through, err := c.jump(ctx, s.Jumps, depth)
	if err != nil {
		return nil, fmt.Errorf("on the way to %s: %w", t, err)
	}
	client, err := s.connect(ctx, through)
	if err != nil {
		err = fmt.Errorf("connecting to %s: %w", s.Target, err)
		if through != nil {
			err = errors.Join(err, through.Close())
		}
		return nil, err
	}
	return &Client{Client: client, Settings: s, through: through}, nil
}

// jump connects to the last of the machines, each through the one before it.
func (c Config) jump(ctx context.Context, jumps []string, depth int) (*Client, error) {
	var through *Client
	for i, name := range jumps {
		t, err := ParseTarget(name)
		if err != nil {
			return nil, fmt.Errorf("reading ProxyJump: %w", err)
		}
		if i == 0 {
			if through, err = c.dial(ctx, t, depth+len(jumps)); err != nil {
				return nil, err
			}
			continue
		}
		s, err := c.Resolve(t)
		if err != nil {
			return nil, errors.Join(err, through.Close())
		}
		client, err := s.connect(ctx, through)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("connecting to %s: %w", s.Target, err), through.Close())
		}
		through = &Client{Client: client, Settings: s, through: through}
	}
	return through, nil
}

// connect makes one connection, through another one or directly.
func (s Settings) connect(ctx context.Context, through *Client) (*ssh.Client, error) {
	config, release, err := s.login(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	address := net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
	var raw net.Conn
	if through != nil {
		raw, err = through.DialContext(ctx, "tcp", address)
	} else {
		raw, err = (&net.Dialer{Timeout: handshakeWait, KeepAlive: 30 * time.Second}).DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, handshakeWait, errors.New("its sshd did not answer in time"))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	conn, channels, requests, err := ssh.NewClientConn(raw, address, config)
	if !stop() && ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		_ = raw.Close()
		return nil, s.explain(err)
	}
	return ssh.NewClient(conn, channels, requests), nil
}

// Close ends the connection, and those that it went through.
func (c *Client) Close() error {
	err := c.Client.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil // the other side was faster
	}
	if c.through != nil {
		err = errors.Join(err, c.through.Close())
	}
	return err
}
