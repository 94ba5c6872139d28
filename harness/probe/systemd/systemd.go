// Package systemd asks the guest's init system, over its private socket, which needs no message bus and therefore answers
// also while the bus is down or being patched.
package systemd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/coreos/go-systemd/v22/dbus"

	"github.com/patchlab/patchlab/harness/probe/protocol"
)

// Unit is the state of one loaded unit.
type Unit struct {
	Name   string
	Load   string
	Active string
	Sub    string
}

// Manager is a connection to systemd.
type Manager struct {
	conn *dbus.Conn
}

// Connect opens systemd's private socket, which only root may.
func Connect(ctx context.Context) (*Manager, error) {
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting to systemd: %w", err)
	}
	return &Manager{conn: conn}, nil
}

// Close ends the connection.
func (m *Manager) Close() { m.conn.Close() }

// Units returns the loaded units whose names match one of the patterns.
func (m *Manager) Units(ctx context.Context, patterns ...string) ([]Unit, error) {
	statuses, err := m.conn.ListUnitsByPatternsContext(ctx, nil, patterns)
	if err != nil {
		return nil, fmt.Errorf("listing units: %w", err)
	}
	units := make([]Unit, len(statuses))
	for i, s := range statuses {
		units[i] = Unit{Name: s.Name, Load: s.LoadState, Active: s.ActiveState, Sub: s.SubState}
	}
	return units, nil
}

// Result asks for a unit's result property: success, exit-code, timeout, ... It is "" for types that have none.
func (m *Manager) Result(ctx context.Context, unit string) (string, error) {
	kind := typeInterface(unit)
	if kind == "" {
		return "", nil
	}
	property, err := m.conn.GetUnitTypePropertyContext(ctx, unit, kind, "Result")
	if err != nil {
		return "", fmt.Errorf("asking for the result of %s: %w", unit, err)
	}
	result, _ := property.Value.Value().(string)
	return result, nil
}

// typeInterface is the last part of the D-Bus interface of a unit's type, where that has a result.
func typeInterface(unit string) string {
	kind := unit[strings.LastIndexByte(unit, '.')+1:]
	switch kind {
	case "service", "socket", "timer", "mount", "path":
		return string(unicode.ToUpper(rune(kind[0]))) + kind[1:]
	}
	return ""
}

// State reports the system's state, the queued jobs and the failed units; the rest of Settled is left alone.
func (m *Manager) State(ctx context.Context) (protocol.Settled, error) {
	property, err := m.conn.SystemStateContext(ctx)
	if err != nil {
		return protocol.Settled{}, fmt.Errorf("asking for the system's state: %w", err)
	}
	jobs, err := m.conn.ListJobsContext(ctx)
	if err != nil {
		return protocol.Settled{}, fmt.Errorf("listing jobs: %w", err)
	}
	failed, err := m.conn.ListUnitsFilteredContext(ctx, []string{"failed"})
	if err != nil {
		return protocol.Settled{}, fmt.Errorf("listing failed units: %w", err)
	}
	state, _ := property.Value.Value().(string)
	settled := protocol.Settled{State: state, Jobs: []protocol.Job{}, Failed: []string{}}
	for _, j := range jobs {
		settled.Jobs = append(settled.Jobs, protocol.Job{Unit: j.Unit, Type: j.JobType, State: j.Status})
	}
	for _, u := range failed {
		settled.Failed = append(settled.Failed, u.Name)
	}
	slices.SortFunc(settled.Jobs, func(a, b protocol.Job) int { return cmp.Compare(a.Unit, b.Unit) })
	slices.Sort(settled.Failed)
	return settled, nil
}
