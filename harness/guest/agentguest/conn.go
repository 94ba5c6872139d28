package agentguest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/guest/commandlog"
	"github.com/patchlab/patchlab/harness/hypervisor"
)

// Config says how to reach one guest.
type Config struct {
	Agent hypervisor.AgentCaller
	// CommandLog, when set, receives one bounded and sanitised line for each command, put and get.
	CommandLog io.Writer
	// Dir is the directory in the guest that holds the outputs of commands while they run; default
	// /run/patchlab/agent, on a tmpfs: it works too where the guest's disk is full or read-only.
	Dir string
}

// Dialer opens connections to one guest.
type Dialer struct {
	config Config
	agent  *agent
	log    *commandlog.Log
}

var (
	_ guest.Dialer = (*Dialer)(nil)
	_ guest.Conn   = (*Conn)(nil)
)

// New returns a dialer. Nothing is contacted before [Dialer.Dial].
func New(config Config) *Dialer {
	if config.Dir == "" {
		config.Dir = "/run/patchlab/agent"
	}
	return &Dialer{config: config, agent: newAgent(config.Agent), log: commandlog.New(config.CommandLog)}
}

// Dial asks whether the agent is there, and may run commands: if not, the error is [ErrDisabled].
func (d *Dialer) Dial(ctx context.Context) (guest.Conn, error) {
	c := &Conn{agent: d.agent, log: d.log, dir: d.config.Dir}
	if err := d.agent.canRun(ctx); err != nil {
		return nil, c.fault(ctx, "reaching the guest agent", err)
	}
	return c, nil
}

// Conn is the agent's word that it is there. It is lost when the agent does not answer any more, as after a reboot.
type Conn struct {
	agent *agent
	log   *commandlog.Log
	dir   string

	mu    sync.Mutex
	cause error // why it is over; nil while it stands
}

var errClosed = errors.New("it was closed on this side")

// Close gives up the connection. Commands go on in the guest.
func (c *Conn) Close() error {
	c.fail(errClosed)
	return nil
}

// Dial is not possible: the agent carries no connections.
func (c *Conn) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	act := fmt.Sprintf("connecting to %s %s inside the guest", network, address)
	if err := c.ready(ctx, act); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%s: the guest agent carries no connections: %w", act, errors.ErrUnsupported)
}

// fail ends the connection for a reason; the first reason counts.
func (c *Conn) fail(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = cause
	}
}

// ready is why nothing can be begun: ctx has ended or the connection is lost.
func (c *Conn) ready(ctx context.Context, act string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", act, context.Cause(ctx))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return lost(act, c.cause)
	}
	return nil
}

// fault says what was attempted when err came, and whether it was ctx that ended, the agent that fell silent, or the guest that
// said no.
func (c *Conn) fault(ctx context.Context, act string, err error) error {
	if ctx.Err() == nil && (errors.Is(err, hypervisor.ErrNoAgent) || errors.Is(err, errForgotten)) {
		c.fail(err)
	}
	if e := c.ready(ctx, act); e != nil {
		return e
	}
	return fmt.Errorf("%s: %w", act, err)
}

func lost(act string, cause error) error {
	return fmt.Errorf("%s: %w: %w", act, guest.ErrLost, cause)
}
