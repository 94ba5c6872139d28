package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/patchlab/patchlab/harness/fact"
	"github.com/patchlab/patchlab/harness/guest"
	"github.com/patchlab/patchlab/harness/patch"
	"github.com/patchlab/patchlab/harness/rundir"
	"github.com/patchlab/patchlab/harness/verdict"
)

// heldConnection is a client's connection to a port of the guest, open across the patch.
type heldConnection struct {
	port  string // tcp/7
	conn  net.Conn
	over  guest.Conn    // the connection to the guest that carries it
	ended chan struct{} // closed when the server hangs up, or nobody carries it any more
	told  bool
}

// hold opens the connections that the scenario wants kept open, from the guest's own loopback, and waits until their servers run.
func (r *run) hold(ctx context.Context, c *clone, p *phase) error {
	if len(r.scenario.Hold) == 0 {
		return nil
	}
	_, err := p.step("hold", func() error {
		for _, port := range r.scenario.Hold {
			number := strings.TrimPrefix(port, "tcp/")
			conn, err := c.conn.Dial(ctx, "tcp", net.JoinHostPort("127.0.0.1", number))
			switch {
			case errors.Is(err, guest.ErrLost) || ctx.Err() != nil:
				return fmt.Errorf("opening a connection to %s: %w", port, err)
			case err != nil:
				return &patch.ScenarioError{Increment: r.scenario.Increments[0].Name, Reason: fmt.Sprintf(
					"hold: no connection to %s can be held, for nothing answers there before the patch: %v", port, err)}
			}
			h := &heldConnection{port: port, conn: conn, over: c.conn, ended: make(chan struct{})}
			r.held = append(r.held, h)
			go func() {
				_, _ = io.Copy(io.Discard, conn) // how it ended does not matter
				close(h.ended)
			}()
		}
		_, err := c.settle(ctx) // a server that is started for each connection has its process now
		return err
	})
	if err == nil {
		p.note("holding a connection to each of %s", strings.Join(r.scenario.Hold, " "))
	}
	return err
}

// letGo closes the held connections.
func (r *run) letGo() {
	for _, h := range r.held {
		_ = h.conn.Close() // the server may have hung up
		<-h.ended
	}
	r.held = nil
}

// tellEnded tells which held connections have ended at a phase. That is what an administrator's users see of a restart: worth
// knowing, and nobody's fault.
func (r *run) tellEnded(c *clone, phase, increment string, restarted ...string) {
	for _, h := range r.held {
		select {
		case <-h.ended:
		default:
			continue
		}
		if h.told {
			continue
		}
		h.told = true
		f := withRemedy(verdict.Finding{
			ID: "PL206", Severity: verdict.Info, Phase: phase, Increment: increment,
			Subject:  fact.Key{Kind: fact.KindPort, Name: h.port},
			Title:    "a client's connection to " + h.port + ", open since before the patch, has ended",
			Evidence: []verdict.Evidence{{File: rundir.Events}},
		})
		owner := r.ownerOf(h.port)
		switch {
		case h.over != c.conn:
			f.Cause = "patchlab's own connection to the guest, which carried it, was cut"
		case slices.Contains(restarted, owner):
			f.Cause = "the advised restart of " + owner
		case phase == "apply":
			f.Cause = "the increment itself restarted its server, or the server does not wait for a silent client"
		default:
			f.Cause = "its server ended, or does not wait for a silent client"
		}
		r.judge.Add(f)
	}
}

// ownerOf returns the unit that listens on a port, such as tcp/7, or "".
func (r *run) ownerOf(port string) string {
	protocol, number, _ := strings.Cut(port, "/")
	for _, f := range r.known.Baseline.OfKind(fact.KindPort) {
		if strings.HasPrefix(f.Name, protocol+"/") && strings.HasSuffix(f.Name, ":"+number) {
			return f.Attribute("unit")
		}
	}
	return ""
}
