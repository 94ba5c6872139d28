package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/patchlab/patchlab/harness/probe/collect"
	"github.com/patchlab/patchlab/harness/probe/protocol"
	"github.com/patchlab/patchlab/harness/probe/systemd"
	"github.com/patchlab/patchlab/harness/wait"
)

const settleInterval = 500 * time.Millisecond

// settle waits until the guest has come to rest, and prints its state then or when the time is over. Which of both it was, the
// printed state tells.
func settle(ctx context.Context, arguments []string, stdout io.Writer) error {
	flags := newFlags("settle")
	timeout := flags.Duration("timeout", time.Minute, "how long to wait")
	alone := flags.Bool("alone", false, "wait until nobody is logged in, too")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	waiting, stop := context.WithTimeout(ctx, *timeout)
	defer stop()
	state, err := settledState(waiting, *alone)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if state.State == "" {
		return fmt.Errorf("waiting for the guest to settle: %w", err) // systemd never answered
	}
	state.BootID = collect.BootID(collect.NewSource("/", nil, 0))
	state.UptimeSeconds = uptime()
	if err := json.NewEncoder(stdout).Encode(state); err != nil {
		return fmt.Errorf("writing the state: %w", err)
	}
	return nil
}

// settledState polls systemd until it was at rest twice in a row: between two jobs it looks so for a moment. A question that
// fails is asked again over another connection, for systemd may be about to execute itself anew.
func settledState(ctx context.Context, alone bool) (protocol.Settled, error) {
	var last protocol.Settled
	var lastErr error
	quiet := 0
	ask := &asker{}
	defer ask.hangUp()
	err := wait.Until(ctx, "the guest to settle", settleInterval, func(ctx context.Context) (bool, error) {
		state, err := ask.state(ctx)
		lastErr = err
		if err == nil {
			last = state
		}
		if alone {
			last.Logins = logins(protocol.SessionsDir)
		}
		if quiet++; err != nil || !state.Quiet() || last.Logins > 0 {
			quiet = 0
		}
		return quiet >= 2, nil
	})
	if err != nil {
		err = errors.Join(err, lastErr)
	}
	return last, err
}

// logins counts the sessions that the login manager knows; 0 where there is none.
func logins(dir string) int {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	count := 0
	for _, entry := range entries {
		if !strings.Contains(entry.Name(), ".") { // the others are pipes that belong to one
			count++
		}
	}
	return count
}

// asker keeps a connection to systemd for as long as it answers.
type asker struct{ conn *systemd.Manager }

func (a *asker) state(ctx context.Context) (protocol.Settled, error) {
	if a.conn == nil {
		conn, err := systemd.Connect(ctx)
		if err != nil {
			return protocol.Settled{}, err
		}
		a.conn = conn
	}
	state, err := a.conn.State(ctx)
	if err != nil {
		a.hangUp()
	}
	return state, err
}

func (a *asker) hangUp() {
	if a.conn != nil {
		a.conn.Close()
		a.conn = nil
	}
}

// uptime returns the seconds since the kernel started, 0 if it does not tell.
func uptime() float64 {
	content, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(content), " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return seconds
}
